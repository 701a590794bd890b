"""A light drawn in the terminal, on one line: a patch of colour, the emotion, its confidence, and the activation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import TextIO

from edge.errors import LightError
from edge.leds.base import NAMES, OFF, Look, activation_colour
from edge.leds.ink import CSI, Ink
from edge.leds.patterns import PATTERN_WORDS

_PATCH = 4  # columns of the colour
_WORD = max(map(len, NAMES))
_PERCENT = len("  100%")
_BAR = 20  # columns of the bar, where there is room for it
_SCALE = 13  # columns of the activation's scale, without its words
_KEPT = " clips kept"
_LOW_HIGH = ("   low ", " high")


class Terminal:
    """Redraws one line in place on a terminal; elsewhere (a file, a pipe, the journal) prints a line for each change.

    With `COLORTERM=truecolor` all colours are drawn, otherwise the nearest of 256, or of 16 where `TERM` promises no
    more; with `NO_COLOR` shades, and the pattern in words. `environ` and `columns` are for tests; usually they are the
    terminal's own.
    """

    def __init__(self, stream: TextIO, *, environ: Mapping[str, str] = os.environ, columns: int | None = None) -> None:
        self._stream = stream
        self._columns = columns
        self._ink = Ink(stream, environ)
        blocks = (" ░▒▓█", "━─", "─●") if self._ink.has_blocks else (" .:*#", "#.", "-o")
        self._shades, self._bar, self._scale = blocks
        self._drawn = ""
        self._is_closed = False

    def show(self, look: Look) -> None:
        """Draw `look`.

        Raises:
            LightError: nothing can be written any more, for instance because the reader of a pipe has gone.
        """
        if self._is_closed:
            return
        if self._ink.is_live:
            line = self._line(look)
            text = f"\r{line}{CSI}K"
        else:
            # only the word decides what a change is: a line for each confidence would fill a log
            kept = _KEPT if look.is_capturing else ""
            line = look.name + kept
            activation = "" if look.activation is None else f"   activation {round(100 * look.activation):3d}%"
            text = f"{look.name:<{_WORD}} {_percent(look)}{activation}{kept}".rstrip() + "\n"
        if line != self._drawn:
            self._write(text)
            self._drawn = line

    def close(self) -> None:
        """Remove the line from a terminal.

        Raises:
            LightError: nothing can be written any more.
        """
        if not self._is_closed and self._ink.is_live and self._drawn:
            self._write(f"\r{CSI}0m{CSI}K")
        self._is_closed = True

    def _line(self, look: Look) -> str:
        # the last column stays free: writing there makes some terminals wrap
        room = (self._columns or shutil.get_terminal_size().columns) - 1
        n_patch = min(_PATCH, max(room, 0))
        line = self._patch(look, n_patch)
        room -= n_patch
        if look.is_capturing and room >= len(_KEPT):
            line += self._ink.bold(_KEPT)  # first of all: what is cut off at the end is not seen
            room -= len(_KEPT)
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
        if not self._ink.has_colour and room >= 3 + len(PATTERN_WORDS[look.name]):
            line += f"   {PATTERN_WORDS[look.name]}"
        return line.rstrip()

    def _patch(self, look: Look, n_columns: int) -> str:
        if not self._ink.has_colour or look.name == OFF:
            return self._shades[round(look.level * (len(self._shades) - 1))] * n_columns
        return self._ink.filled(" " * n_columns, look.rgb)

    def _confidence(self, look: Look, n_columns: int) -> str:
        """A bar as long as the confidence, in the colour of the emotion at rest: one that flickers cannot be read."""
        n_full = round(n_columns * look.confidence)
        return self._ink.painted(self._bar[0] * n_full, look.colour) + self._ink.faint(
            self._bar[1] * (n_columns - n_full)
        )

    def _activation(self, activation: float) -> str:
        """A scale from low to high with a mark on it."""
        at = round(activation * (_SCALE - 1))
        low, high = _LOW_HIGH
        mark = self._ink.painted(self._scale[1], activation_colour(activation))
        line = self._scale[0]
        return self._ink.faint(low + line * at) + mark + self._ink.faint(line * (_SCALE - 1 - at) + high)

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


def _percent(look: Look) -> str:
    return f"{round(100 * look.confidence):3d}%" if look.confidence else ""
