"""A light drawn in the terminal: a patch of colour, the word, and a bar for the confidence, all on one line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import TextIO

from edge.errors import LightError
from edge.leds.base import NAMES, OFF, Look, Rgb

_PATCH = 4  # columns of the colour
_WORD = max(map(len, NAMES))
_BAR = 20  # columns of the bar, where there is room for it


class Terminal:
    """Redraws one line in place on a terminal; elsewhere (a file, a pipe, the journal) prints a line for each change.

    On a terminal, `NO_COLOR` draws the patch in shades instead of colours, and without `COLORTERM=truecolor` the
    nearest of 256 colours is taken. `environ` and `columns` are for tests; usually they are the terminal's own.
    """

    def __init__(self, stream: TextIO, *, environ: Mapping[str, str] = os.environ, columns: int | None = None) -> None:
        self._stream = stream
        self._columns = columns
        self._is_live = stream.isatty() and environ.get("TERM") != "dumb"
        # https://no-color.org: any value but an empty one counts
        self._has_colour = not environ.get("NO_COLOR")
        self._is_true_colour = environ.get("COLORTERM") in ("truecolor", "24bit")
        self._shades, self._bar = (" ░▒▓█", "█·") if _can_draw_blocks(stream) else (" .:*#", "#.")
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
            text = f"\r{line}\x1b[K"
        else:
            # only the word decides what a change is: a line for each confidence would fill a log
            line = look.name
            text = f"{look.name:<{_WORD}} {_percent(look)}".rstrip() + "\n"
        if line != self._drawn:
            self._write(text)
            self._drawn = line

    def close(self) -> None:
        """Remove the line from a terminal.

        Raises:
            LightError: nothing can be written any more.
        """
        if not self._is_closed and self._is_live and self._drawn:
            self._write("\r\x1b[0m\x1b[K")
        self._is_closed = True

    def _line(self, look: Look) -> str:
        # the last column stays free: writing there makes some terminals wrap
        room = (self._columns or shutil.get_terminal_size().columns) - 1
        percent = _percent(look)
        text = f" {look.name:<{_WORD}}"
        n_bar = min(_BAR, room - _PATCH - len(text) - len("  100%"))
        if percent and n_bar >= 5:
            n_full = round(n_bar * look.confidence)
            text += f" {self._bar[0] * n_full}{self._bar[1] * (n_bar - n_full)}"
        text = f"{text} {percent}".rstrip()
        n_patch = min(_PATCH, max(room, 0))
        return self._patch(look, n_patch) + text[: max(room - n_patch, 0)]

    def _patch(self, look: Look, n_columns: int) -> str:
        if not self._has_colour or look.name == OFF:
            return self._shades[round(look.level * (len(self._shades) - 1))] * n_columns
        if self._is_true_colour:
            red, green, blue = (round(255 * part) for part in look.rgb)
            colour = f"48;2;{red};{green};{blue}"
        else:
            colour = f"48;5;{nearest_of_256(look.rgb)}"
        return f"\x1b[{colour}m{' ' * n_columns}\x1b[0m"

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


def _percent(look: Look) -> str:
    return f"{round(100 * look.confidence):3d}%" if look.confidence else ""


def _can_draw_blocks(stream: TextIO) -> bool:
    try:
        "░▒▓█·".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
