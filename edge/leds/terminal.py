"""A light drawn in the terminal, on one line: a patch of colour, the emotion, its confidence, and the activation."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from typing import Final, TextIO

from edge.errors import LightError
from edge.leds.base import NAMES, OFF, Look, Rgb, activation_colour, light_of
from edge.leds.patterns import PATTERN_WORDS

_PATCH = 4  # columns of the colour
_WORD = max(map(len, NAMES))
_PERCENT = len("  100%")
_BAR = 20  # columns of the bar, where there is room for it
_SCALE = 13  # columns of the activation's scale, without its words
_LOW_HIGH = ("   low ", " high")
_CSI: Final = "\x1b["

# The hues of the 16 colours, as (red, green, blue); each is there dark and bright.
_HUES: Final = ((1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1))


class Terminal:
    """Redraws one line in place on a terminal; elsewhere (a file, a pipe, the journal) prints a line for each change.

    With `COLORTERM=truecolor` all colours are drawn, otherwise the nearest of 256, or of 16 where `TERM` promises no
    more; with `NO_COLOR` shades, and the pattern in words. `environ` and `columns` are for tests; usually they are the
    terminal's own.
    """

    def __init__(self, stream: TextIO, *, environ: Mapping[str, str] = os.environ, columns: int | None = None) -> None:
        self._stream = stream
        self._columns = columns
        term = environ.get("TERM", "")
        self._is_live = stream.isatty() and term != "dumb"
        # https://no-color.org: any value but an empty one counts
        self._has_colour = not environ.get("NO_COLOR")
        if environ.get("COLORTERM") in ("truecolor", "24bit"):
            self._n_colours = 1 << 24
        else:
            is_old = term.startswith(("linux", "ansi", "vt1", "vt2")) or term.endswith(("-16color", "-color"))
            self._n_colours = 16 if is_old else 256
        has_blocks = _can_draw_blocks(stream)
        self._shades, self._bar, self._scale = (" ░▒▓█", "━─", "─●") if has_blocks else (" .:*#", "#.", "-o")
        self._drawn = ""
        self._is_closed = False

    def show(self, look: Look) -> None:
        """Draw `look`.

        Raises:
            LightError: nothing can be written any more, for instance because the reader of a pipe has gone.
        """
        if self._is_closed:
            return
        if self._is_live:
            line = self._line(look)
            text = f"\r{line}{_CSI}K"
        else:
            # only the word decides what a change is: a line for each confidence would fill a log
            line = look.name
            activation = "" if look.activation is None else f"   activation {round(100 * look.activation):3d}%"
            text = f"{look.name:<{_WORD}} {_percent(look)}{activation}".rstrip() + "\n"
        if line != self._drawn:
            self._write(text)
            self._drawn = line

    def close(self) -> None:
        """Remove the line from a terminal.

        Raises:
            LightError: nothing can be written any more.
        """
        if not self._is_closed and self._is_live and self._drawn:
            self._write(f"\r{_CSI}0m{_CSI}K")
        self._is_closed = True

    def _line(self, look: Look) -> str:
        # the last column stays free: writing there makes some terminals wrap
        room = (self._columns or shutil.get_terminal_size().columns) - 1
        n_patch = min(_PATCH, max(room, 0))
        line = self._patch(look, n_patch)
        room -= n_patch
        word = f" {look.name:<{_WORD}}"
        if room < len(word) + _PERCENT:
            return line + f"{word} {_percent(look)}".rstrip()[: max(room, 0)]
        room -= len(word) + _PERCENT
        n_scale = len("".join(_LOW_HIGH)) + _SCALE
        has_scale = room >= n_scale
        n_bar = min(_BAR, room - has_scale * n_scale - 1)
        line += word
        if n_bar >= 5:
            room -= n_bar + 1
            line += " " + (self._confidence(look, n_bar) if look.confidence else " " * n_bar)
        line += f"{_percent(look):>{_PERCENT}}"
        if has_scale:
            room -= n_scale
            line += " " * n_scale if look.activation is None else self._activation(look.activation)
        if not self._has_colour and room >= 3 + len(PATTERN_WORDS[look.name]):
            line += f"   {PATTERN_WORDS[look.name]}"
        return line.rstrip()

    def _patch(self, look: Look, n_columns: int) -> str:
        if not self._has_colour or look.name == OFF:
            return self._shades[round(look.level * (len(self._shades) - 1))] * n_columns
        return f"{_CSI}{self._code(look.rgb, 40)}m{' ' * n_columns}{_CSI}0m"

    def _confidence(self, look: Look, n_columns: int) -> str:
        """A bar as long as the confidence, in the colour of the emotion at rest: one that flickers cannot be read."""
        n_full = round(n_columns * look.confidence)
        return self._painted(self._bar[0] * n_full, look.colour) + self._faint(self._bar[1] * (n_columns - n_full))

    def _activation(self, activation: float) -> str:
        """A scale from low to high with a mark on it."""
        at = round(activation * (_SCALE - 1))
        low, high = _LOW_HIGH
        mark = self._painted(self._scale[1], activation_colour(activation))
        line = self._scale[0]
        return self._faint(low + line * at) + mark + self._faint(line * (_SCALE - 1 - at) + high)

    def _painted(self, text: str, rgb: Rgb) -> str:
        return f"{_CSI}{self._code(rgb, 30)}m{text}{_CSI}0m" if text and self._has_colour else text

    def _faint(self, text: str) -> str:
        return f"{_CSI}2m{text}{_CSI}0m" if text and self._has_colour else text

    def _code(self, rgb: Rgb, ground: int) -> str:
        """The escape code of a colour as text (`ground` 30) or as background (40)."""
        if self._n_colours == 16:
            nearest = nearest_of_16(rgb)
            return str(ground + nearest if nearest < 8 else ground + 60 + nearest - 8)
        if self._n_colours == 256:
            return f"{ground + 8};5;{nearest_of_256(rgb)}"
        red, green, blue = (round(255 * part) for part in rgb)
        return f"{ground + 8};2;{red};{green};{blue}"

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self._drawn = ""
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise LightError(
                f"cannot draw the light in the terminal: {reason}; leds.kind picks another light"
            ) from None


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


def _percent(look: Look) -> str:
    return f"{round(100 * look.confidence):3d}%" if look.confidence else ""


def _can_draw_blocks(stream: TextIO) -> bool:
    try:
        "░▒▓█━─●".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
