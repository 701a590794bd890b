"""Colours and signs on a terminal: as many as it promises, and none where they are not wanted."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Final, TextIO

from edge.leds.base import Rgb, light_of

CSI: Final = "\x1b["

# The hues of the 16 colours, as (red, green, blue); each is there dark and bright.
_HUES: Final = ((1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1))


class Ink:
    """What can be drawn on `stream`.

    With `COLORTERM=truecolor` all colours are drawn, otherwise the nearest of 256, or of 16 where `TERM` promises no
    more; none with `NO_COLOR`, and none in a file or a pipe. `environ` is for tests.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str] = os.environ) -> None:
        term = environ.get("TERM", "")
        self.is_live = stream.isatty() and term != "dumb"
        """Whether what was drawn can be drawn over."""
        # https://no-color.org: any value but an empty one counts
        self.has_colour = self.is_live and not environ.get("NO_COLOR")
        self.has_blocks = _can_draw_blocks(stream)
        """Whether there is more than ASCII."""
        if environ.get("COLORTERM") in ("truecolor", "24bit"):
            self._n_colours = 1 << 24
        else:
            is_old = term.startswith(("linux", "ansi", "vt1", "vt2")) or term.endswith(("-16color", "-color"))
            self._n_colours = 16 if is_old else 256

    def painted(self, text: str, rgb: Rgb) -> str:
        """`text` in a colour."""
        return self.styled(text, self._code(rgb, 30))

    def filled(self, text: str, rgb: Rgb) -> str:
        """`text` on a ground of a colour, in black or white, whichever can be read on it."""
        codes = self._code(rgb, 40)
        if text.strip():
            red, green, blue = light_of(rgb)
            # the luminance at which black and white stand out equally (WCAG 2)
            codes += ";30" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else ";97"
        return self.styled(text, codes)

    def faint(self, text: str) -> str:
        """`text` that stands back."""
        return self.styled(text, "2")

    def bold(self, text: str) -> str:
        """`text` that stands out."""
        return self.styled(text, "1")

    def styled(self, text: str, codes: str) -> str:
        """`text` as the escape `codes` of colours and styles say."""
        return f"{CSI}{codes}m{text}{CSI}0m" if text and self.has_colour else text

    def _code(self, rgb: Rgb, ground: int) -> str:
        """The escape code of a colour as text (`ground` 30) or as background (40)."""
        if self._n_colours == 16:
            nearest = nearest_of_16(rgb)
            return str(ground + nearest if nearest < 8 else ground + 60 + nearest - 8)
        if self._n_colours == 256:
            return f"{ground + 8};5;{nearest_of_256(rgb)}"
        red, green, blue = (round(255 * part) for part in rgb)
        return f"{ground + 8};2;{red};{green};{blue}"


def nearest_of_256(rgb: Rgb) -> int:
    """The number of the nearest colour that a terminal with 256 colours has: its cube of 6 x 6 x 6 or its greys."""
    steps = (0, 95, 135, 175, 215, 255)
    parts = [255 * part for part in rgb]
    cube = [min(range(6), key=lambda i: abs(steps[i] - part)) for part in parts]
    grey = max(0, min(23, round((sum(parts) / 3 - 8) / 10)))

    def distance(candidate: list[int]) -> float:
        return sum((a - b) ** 2 for a, b in zip(parts, candidate, strict=True))

    if distance([8 + 10 * grey] * 3) < distance([steps[i] for i in cube]):
        return 232 + grey
    return 16 + 36 * cube[0] + 6 * cube[1] + cube[2]


def nearest_of_16(rgb: Rgb) -> int:
    """The number of the colour of most similar hue among the 16 that every terminal has, bright or dark as `rgb` is.

    What is not black is not drawn black.
    """
    light = light_of(rgb)

    def similarity(hue: tuple[int, int, int]) -> float:
        return sum(part * other for part, other in zip(light, hue, strict=True)) / math.sqrt(sum(hue))

    if not any(light):
        return 0
    red, green, blue = max(_HUES, key=similarity)
    return (red + 2 * green + 4 * blue) + (8 if max(rgb) >= 0.5 else 0)


def _can_draw_blocks(stream: TextIO) -> bool:
    try:
        "░▒▓█━─●".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
