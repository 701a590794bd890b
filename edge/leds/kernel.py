"""An LED that the kernel drives: a folder in /sys/class/leds, on nearly every board."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge.errors import LightError
from edge.leds.base import Look, steps_of

CLASS: Final = Path("/sys/class/leds")
_COLOURS: Final = ("red", "green", "blue")


class KernelLed:
    """The LED `name` of the kernel's LED class: dimmed as far as it can be, in colour if it is a multicolour one.

    What the kernel used it for until then (its trigger) it does again after `close`; one that was killed before leaves
    nothing to go back to. `root` is where the class lives.
    """

    def __init__(self, name: str, root: Path = CLASS) -> None:
        """Raises:
        LightError: there is no such LED, it is not a light, or this user may not switch it.
        """
        self._folder = root / name
        if not name or "/" in name or not self._folder.is_dir():
            known = ", ".join(sorted(path.name for path in root.iterdir())) if root.is_dir() else ""
            raise LightError(f'there is no LED "{name}" in {root}; leds.device takes one of: {known or "none, here"}')
        self._n_steps = self._max_brightness()
        self._parts: list[str] = []
        if (self._folder / "multi_intensity").exists():
            self._parts = self._read("multi_index").split()
        self._trigger = self._active_trigger()
        self._shown = ""
        self._is_closed = False
        # Otherwise the kernel goes on blinking.
        if self._trigger not in ("", "none"):
            self._write("trigger", "none")
        if self._parts:
            self._write("multi_intensity", " ".join("0" for _ in self._parts))
        self._write("brightness", str(self._n_steps if self._parts else 0))

    def show(self, look: Look) -> None:
        """Show `look`: its colour, or how bright it is on an LED of one colour, or on and off where that is all."""
        if self._is_closed:
            return
        red, green, blue = steps_of(look.rgb, self._n_steps)
        if self._parts:
            light = dict(zip(_COLOURS, (red, green, blue), strict=True))
            value = " ".join(str(light.get(part, 0)) for part in self._parts)
        elif self._n_steps == 1:
            value = str(int(look.level >= 0.5 and any(look.rgb)))
        else:
            value = str(max(red, green, blue))
        if value != self._shown:
            self._shown = ""
            self._write("multi_intensity" if self._parts else "brightness", value)
            self._shown = value

    def close(self) -> None:
        """Leave the LED off, and to the kernel."""
        if self._is_closed:
            return
        self._is_closed = True
        self._write("brightness", "0")
        if self._trigger not in ("", "none"):
            self._write("trigger", self._trigger)

    def _max_brightness(self) -> int:
        text = self._read("max_brightness")
        if not text.isdecimal() or int(text) < 1:
            raise LightError(f'{self._folder}: max_brightness is "{text}"; leds.device takes an LED that can shine')
        return int(text)

    def _active_trigger(self) -> str:
        """The one in brackets; nothing where the kernel has no triggers."""
        with suppress(LightError):
            words = self._read("trigger").split()
            return next((word.strip("[]") for word in words if word.startswith("[")), "")
        return ""

    def _read(self, file: str) -> str:
        try:
            return (self._folder / file).read_text().strip()
        except OSError as error:
            raise self._blame(file, error) from None

    def _write(self, file: str, value: str) -> None:
        try:
            # without O_CREAT: a file of the kernel's is there, or the LED is gone
            fd = os.open(self._folder / file, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise self._blame(file, error) from None

    def _blame(self, file: str, error: OSError) -> LightError:
        way_out = (
            "the udev rule in docs/lights.md lets the group gpio switch LEDs"
            if isinstance(error, PermissionError)
            else "is it still there?"
        )
        return LightError(f"{self._folder / file}: {error.strerror}; {way_out}")
