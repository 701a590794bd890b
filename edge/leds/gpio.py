"""The pins of a Raspberry Pi or Jetson: switched on and off, or dimmed for one RGB LED.

All go through the interface of RPi.GPIO, which rpi-lgpio (current Raspberry Pis) and Jetson.GPIO share. Pins are
numbered as GPIO (BCM) numbers. On a Raspberry Pi every pin can be dimmed (in software); on a Jetson only those with
PWM hardware can.
"""

from __future__ import annotations

import importlib
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from edge.errors import LightError
from edge.extras import how_to_add
from edge.leds.base import Look, steps_of

HEADER_PINS: Final = range(2, 28)
"""GPIO numbers on the 40-pin header; 0 and 1 belong to the identification of add-on boards."""
RGB_PARTS: Final = ("red", "green", "blue")
DEFAULT_RGB_PINS: Final[Mapping[str, int]] = {"red": 17, "green": 27, "blue": 22}

_PWM_HZ: Final = 100.0
# Light and buttons want the library at once: its import moves the process, and rpi-lgpio, asked twice at once for the
# numbering, opens the chip twice and then knows of half the pins only.
_opening: Final = threading.Lock()


class RgbPins:
    """One RGB LED on three pins, each dimmed by pulse width."""

    def __init__(self, red: int, green: int, blue: int, *, active_low: bool = False) -> None:
        """Raises:
        LightError: the library is missing, or a pin does not exist, is used twice or cannot be driven or dimmed.
        """
        pins = dict(zip(RGB_PARTS, (red, green, blue), strict=True))
        self._pins = Pins(pins, active_low=active_low)
        self._pwm: dict[int, Any] = {}
        self._duty: dict[int, int] = {}
        try:
            for pin in pins.values():
                with _blamed_on(pin, _DIMMABLE):
                    self._pwm[pin] = self._pins.gpio.PWM(pin, _PWM_HZ)
                    self._pwm[pin].start(self._percent_high(0))
        except LightError:
            with suppress(LightError):
                self.close()
            raise

    def show(self, look: Look) -> None:
        """Show the colour of `look`; each pin is written only when its duty cycle changes by a whole percent."""
        if not self._pwm:
            return
        for pin, duty in zip(list(self._pwm), steps_of(look.rgb, 100), strict=True):
            if self._duty.get(pin) != duty:
                self._duty.pop(pin, None)
                with _blamed_on(pin):
                    self._pwm[pin].ChangeDutyCycle(self._percent_high(duty))
                self._duty[pin] = duty

    def close(self) -> None:
        """Stop the pulses, leave the LED off and give the pins back."""
        fault: LightError | None = None
        while self._pwm:
            # A pulse object that lives on would stop itself when collected, after its pin has been given back.
            pin, pwm = self._pwm.popitem()
            try:
                with _blamed_on(pin):
                    pwm.stop()
            except LightError as error:
                fault = error
            del pwm
        self._pins.release()
        if fault:
            raise fault

    def _percent_high(self, duty: int) -> int:
        return 100 - duty if self._pins.active_low else duty


class Pins:
    """Named output pins (`edge.leds.onoff.Outputs`) that start dark, and end dark and given back."""

    def __init__(self, pins: Mapping[str, int], *, active_low: bool = False) -> None:
        """Raises:
        LightError: the library is missing, or a pin does not exist or cannot be driven.
        """
        self.active_low = active_low
        self.gpio = gpio_library()
        self._pins: dict[str, int] = {}
        try:
            for name, pin in pins.items():
                self._pins[name] = pin
                with _blamed_on(pin):
                    self.gpio.setup(pin, self.gpio.OUT, initial=self._level(False))
        except LightError:
            self._pins.popitem()  # this one is not ours
            with suppress(LightError):
                self.release()
            raise

    def write(self, name: str, is_lit: bool) -> None:
        """Light or darken the LED called `name`."""
        with _blamed_on(self._pins[name]):
            self.gpio.output(self._pins[name], self._level(is_lit))

    def release(self) -> None:
        """Leave every LED off and give the pins back."""
        fault: LightError | None = None
        while self._pins:
            _, pin = self._pins.popitem()
            try:
                with _blamed_on(pin):
                    # A pin that was dimmed is low now, which lights an active-low LED, and on a Jetson it is not an
                    # output any more: set it up again.
                    self.gpio.setup(pin, self.gpio.OUT, initial=self._level(False))
                    self.gpio.cleanup(pin)
            except LightError as error:
                fault = error
        if fault:
            raise fault

    def _level(self, is_lit: bool) -> int:
        return int(is_lit != self.active_low)


_ACCESS: Final = 'is this user in the group "gpio", and no other program using the pins?'
_DIMMABLE: Final = (
    "a pin that can be dimmed is free on any Raspberry Pi; a Jetson has at most 12, 13 and 22, enabled with jetson-io; "
    'leds.kind = "pins" needs no dimming'
)


@contextmanager
def _blamed_on(pin: int, way_out: str = "") -> Iterator[None]:
    """Turn whatever the library raises (each has its own errors, some bare `Exception`s) into one line about `pin`."""
    try:
        yield
    except Exception as error:
        # ValueError is the one error that means: not with this pin
        usual = "choose a pin that this board has" if isinstance(error, ValueError) else _ACCESS
        raise LightError(f"GPIO {pin} cannot be driven: {_one_line(error)}; {way_out or usual}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def gpio_library() -> Any:
    """The module that drives the pins of this board, its pins by their GPIO (BCM) numbers.

    Raises:
        LightError: none is installed, or none works here.
    """
    refusal = ""
    with _opening:
        _keep_lgpio_tidy()
        here = Path.cwd()
        try:
            for name in ("RPi.GPIO", "Jetson.GPIO"):
                try:
                    library = importlib.import_module(name)
                except ImportError:
                    continue
                except Exception as error:
                    refusal = refusal or f"{name} does not work here: {_one_line(error)}"
                    continue
                _open(library)
                return library
        finally:
            os.chdir(here)  # lgpio changes into its working directory, and every relative path would follow it
    if refusal:
        raise LightError(
            f"{refusal}; on a Raspberry Pi `sudo apt install python3-rpi-lgpio` brings the one that fits, "
            f'and leds.kind = "terminal" needs none'
        )
    raise LightError(
        "no GPIO library is installed: on a Raspberry Pi `sudo apt install python3-rpi-lgpio` or "
        f"{how_to_add('pi')}, on a Jetson {how_to_add('jetson')}"
    )


def _open(library: Any) -> None:
    try:
        library.setwarnings(False)  # a pin left as output by a crash is no news: it is set anew
        library.setmode(library.BCM)
    except Exception as error:
        raise LightError(f"the GPIO pins cannot be opened: {_one_line(error)}; {_ACCESS}") from None


def _keep_lgpio_tidy() -> None:
    """Send the pipes that lgpio creates in the working directory to a folder that is cleared by itself."""
    if "LG_WD" in os.environ:
        return
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0] or os.environ.get("XDG_RUNTIME_DIR", "")
    for folder in (runtime, "/run/tonelight"):
        if folder and os.access(folder, os.W_OK | os.X_OK):
            os.environ["LG_WD"] = folder
            return
    os.environ["LG_WD"] = tempfile.gettempdir()
