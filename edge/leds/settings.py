"""The `[leds]` table of the configuration, and the light it asks for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from edge.errors import LightError
from edge.labels import EMOTIONS
from edge.leds.base import CAPTURING, LightBackend, NoLight, parse_colour
from edge.leds.gpio import DEFAULT_RGB_PINS, HEADER_PINS, RGB_PARTS, Pins, RgbPins
from edge.leds.kernel import KernelLed
from edge.leds.lights import Lights
from edge.leds.lines import Lines
from edge.leds.night import Night
from edge.leds.onoff import LED_NAMES, OneEach
from edge.leds.patient import PatientLight
from edge.leds.spi import SpiDevice
from edge.leds.strips import APA102_HZ, MAX_LEDS, NEOPIXEL_HZ, Strip, apa102_bytes, neopixel_bytes
from edge.leds.terminal import Terminal

# What `pins` may name, for each kind that has some; the kinds to which they are vital need one.
_PIN_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "rgb": RGB_PARTS,
    "pins": LED_NAMES,
    "lines": LED_NAMES,
    "apa102": ("power",),
}
_DEVICES: Final[Mapping[str, str]] = {
    "lines": "/dev/gpiochip0",
    "kernel": "ACT",
    "apa102": "/dev/spidev0.0",
    "neopixel": "/dev/spidev0.0",
}


_SINGLE: Final = ("pins", "lines")
"""Kinds of light that are single LEDs, on or off."""


class LedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What shows the tone of the voice, and how."""

    kind: Annotated[
        Literal["terminal", "rgb", "pins", "lines", "kernel", "apa102", "neopixel", "none"],
        Meta(
            description="terminal = a line of text; rgb = one RGB LED on three pins, dimmed; "
            "pins = one LED per emotion, on or off; lines = the same by libgpiod, on any board; "
            "kernel = an LED of /sys/class/leds; apa102, neopixel = a strip on an SPI output; none = no light"
        ),
    ] = "terminal"
    device: Annotated[
        str,
        Meta(
            description="lines: the chip; kernel: the LED's name; apa102, neopixel: the SPI output; "
            "empty = /dev/gpiochip0, ACT, /dev/spidev0.0"
        ),
    ] = ""
    n_leds: Annotated[int, Meta(ge=1, le=MAX_LEDS, description="LEDs of a strip; more than there are does no harm")] = (
        12
    )
    pins: Annotated[
        dict[str, int],
        Meta(
            description="pin of each LED by its GPIO (BCM) number, not by its place on the header; "
            "rgb: red, green, blue; pins and lines: emotions, uncertain, starting, listening, muted, fault, capturing, "
            "only those with an LED; apa102: power, if a pin switches the supply; "
            "empty = red 17, green 27, blue 22 (rgb)"
        ),
    ] = {}
    active_low: Annotated[bool, Meta(description="true when a low pin lights the LED, as with a common anode")] = False
    brightness: Annotated[float, Meta(ge=0, le=1, description="dims everything but on-or-off LEDs; 0 = dark")] = 1.0
    colours: Annotated[
        dict[str, str], Meta(description='other colours for emotions, each written "#rrggbb"; empty = the usual ones')
    ] = {}
    night: Night = Night()

    @property
    def can_show_capturing(self) -> bool:
        """Whether this light can say that clips of speech are kept: on single LEDs, only one of its own does."""
        return self.kind not in ("none", *_SINGLE) or self.has_capturing_led

    @property
    def has_capturing_led(self) -> bool:
        """Whether an LED of its own says it."""
        return self.kind in _SINGLE and CAPTURING in self.pins

    def __post_init__(self) -> None:
        """Raises:
        ValueError: a pin or a colour cannot be used.
        """
        _check_pins(self.kind, self.pins)
        for name, colour in self.colours.items():
            if name not in EMOTIONS:
                raise ValueError(f'colours.{name}: there is no emotion "{name}", only {", ".join(EMOTIONS)}')
            try:
                parse_colour(colour)
            except ValueError as error:
                raise ValueError(f"colours.{name}: {error}") from None


def open_lights(settings: LedSettings) -> Lights:
    """The light that `settings` asks for, as the daemon drives it: opened at the first tick, and anew if it fails.

    Raises nothing: a light that cannot be opened or driven is a `LightError` of each tick.
    """
    backend = PatientLight(lambda: open_backend(settings))
    return Lights(
        backend,
        settings.brightness,
        settings.colours,
        night=settings.night,
        can_show_capturing=settings.can_show_capturing,
        has_capturing_led=settings.has_capturing_led,
    )


def open_backend(settings: LedSettings) -> LightBackend:
    """Open the light itself.

    Raises:
        LightError: a library is missing, or the light cannot be driven.
    """
    pins, active_low = settings.pins, settings.active_low
    device = settings.device or _DEVICES.get(settings.kind, "")
    if settings.kind == "rgb":
        rgb = pins or DEFAULT_RGB_PINS
        return RgbPins(rgb["red"], rgb["green"], rgb["blue"], active_low=active_low)
    if settings.kind == "pins":
        return OneEach(Pins(pins, active_low=active_low), pins)
    if settings.kind == "lines":
        return OneEach(Lines(device, pins, active_low=active_low), pins)
    if settings.kind == "kernel":
        return KernelLed(device)
    if settings.kind == "apa102":
        power = Pins(pins) if pins else None
        try:
            spi = SpiDevice(device, APA102_HZ)
        except LightError:
            if power:
                power.release()
            raise
        return Strip(spi, apa102_bytes, settings.n_leds, power)
    if settings.kind == "neopixel":
        return Strip(SpiDevice(device, NEOPIXEL_HZ), neopixel_bytes, settings.n_leds)
    if settings.kind == "terminal":
        return Terminal(sys.stdout)
    return NoLight()


def _check_pins(kind: str, pins: Mapping[str, int]) -> None:
    """Raises:
    ValueError: one line that names the entry and what is allowed.
    """
    if kind not in _PIN_NAMES:
        return
    known = _PIN_NAMES[kind]
    users: dict[int, str] = {}
    for name, pin in pins.items():
        if name not in known:
            raise ValueError(f'pins.{name}: kind "{kind}" has no "{name}", only {", ".join(known)}')
        if kind == "lines" and pin < 0:
            raise ValueError(f"pins.{name} = {pin}: the lines of a chip count from 0")
        if kind != "lines" and pin not in HEADER_PINS:
            raise ValueError(
                f"pins.{name} = {pin}: there is no GPIO {pin} on the header, only {HEADER_PINS[0]} to {HEADER_PINS[-1]}"
            )
        if pin in users:
            raise ValueError(
                f"pins.{name} = {pin}: GPIO {pin} is in use for {users[pin]}; each LED needs a pin of its own"
            )
        users[pin] = name
    missing = [name for name in RGB_PARTS if name not in pins]
    if kind == "rgb" and pins and missing:
        raise ValueError(f'pins: kind "rgb" needs {" and ".join(missing)} too (or no pins at all, for the usual ones)')
    if kind in ("pins", "lines") and not pins:
        raise ValueError(f'pins: kind "{kind}" needs a pin for at least one of {", ".join(LED_NAMES)}')
