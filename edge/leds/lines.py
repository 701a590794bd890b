"""The lines of a GPIO chip by libgpiod: outputs on any Linux board, through the kernel's character device."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from edge.errors import LightError
from edge.extras import how_to_add

_WAY_OUT = "`gpioinfo` lists the chips and lines there are and who uses them; is this user in the group that owns them?"


class Lines:
    """Named output lines (`edge.leds.onoff.Outputs`) of one chip; they start dark, and end dark and given back.

    Args:
        chip: the chip's device, for instance "/dev/gpiochip0".
        lines: the line of each LED, by its offset on the chip.
        active_low: a low line lights the LED.
    """

    def __init__(self, chip: str, lines: Mapping[str, int], *, active_low: bool = False) -> None:
        """Raises:
        LightError: libgpiod's Python package is missing or too old, or the chip or a line cannot be used.
        """
        self._chip = chip
        self._lines = dict(lines)
        gpiod = _library()
        self._on, self._off = gpiod.line.Value.ACTIVE, gpiod.line.Value.INACTIVE
        settings = gpiod.LineSettings(
            direction=gpiod.line.Direction.OUTPUT, active_low=active_low, output_value=self._off
        )
        self._request: Any = None
        try:
            self._request = gpiod.request_lines(
                chip, consumer="tonelight", config=dict.fromkeys(self._lines.values(), settings)
            )
        except Exception as error:
            numbers = ", ".join(str(line) for line in self._lines.values())
            raise LightError(f"{chip}: lines {numbers} cannot be driven: {_one_line(error)}; {_WAY_OUT}") from None

    def write(self, name: str, is_lit: bool) -> None:
        """Light or darken the LED called `name`."""
        line = self._lines[name]
        try:
            self._request.set_value(line, self._on if is_lit else self._off)
        except Exception as error:
            raise LightError(f"{self._chip}: line {line} cannot be driven: {_one_line(error)}; {_WAY_OUT}") from None

    def release(self) -> None:
        """Leave every LED off and give the lines back."""
        if self._request is None:
            return
        fault: LightError | None = None
        for name in self._lines:
            try:
                self.write(name, False)
            except LightError as error:
                fault = error
        with suppress(Exception):  # what counts has been said above
            self._request.release()
        self._request = None
        if fault:
            raise fault


def _library() -> Any:
    install = how_to_add("gpiod")
    try:
        gpiod = importlib.import_module("gpiod")
        importlib.import_module("gpiod.line")
    except ImportError:
        raise LightError(f'leds.kind = "lines" needs libgpiod\'s Python package, version 2: {install}') from None
    if not hasattr(gpiod, "request_lines"):
        raise LightError(f"libgpiod's Python package is too old (version 1; version 2 is needed): {install}")
    return gpiod


def _one_line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
