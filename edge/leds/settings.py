"""The `[leds]` table of the configuration, and the backend it asks for."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.labels import EMOTIONS
from edge.leds.base import LightBackend, NoLight, parse_colour
from edge.leds.gpio import DEFAULT_RGB_PINS, EmotionPins, RgbPins, check_pins
from edge.leds.terminal import Terminal


class LedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What shows the emotion, and how."""

    kind: Annotated[
        Literal["terminal", "rgb", "pins", "none"],
        Meta(
            description="terminal = a line of text; rgb = one RGB LED on three pins, dimmed; "
            "pins = one LED per emotion, on or off; none = no light"
        ),
    ] = "terminal"
    pins: Annotated[
        dict[str, int],
        Meta(
            description="pin of each LED by its GPIO (BCM) number, not by its place on the header; "
            "rgb: red, green, blue; pins: emotions, uncertain, listening, only those that have an LED; "
            "empty = red 17, green 27, blue 22 for rgb"
        ),
    ] = {}
    active_low: Annotated[bool, Meta(description="true when a low pin lights the LED, as with a common anode")] = False
    brightness: Annotated[float, Meta(ge=0, le=1, description="dims everything but on-or-off LEDs; 0 = dark")] = 1.0
    colours: Annotated[
        dict[str, str], Meta(description='other colours for emotions, each written "#rrggbb"; empty = the usual ones')
    ] = {}

    def __post_init__(self) -> None:
        """Raises:
        ValueError: a pin or a colour cannot be used.
        """
        check_pins(self.kind, self.pins)
        for name, colour in self.colours.items():
            if name not in EMOTIONS:
                raise ValueError(f'colours.{name}: there is no emotion "{name}", only {", ".join(EMOTIONS)}')
            try:
                parse_colour(colour)
            except ValueError as error:
                raise ValueError(f"colours.{name}: {error}") from None


def open_backend(settings: LedSettings) -> LightBackend:
    """Open the light that `settings` asks for; `Lights(open_backend(s), s.brightness, s.colours)` drives it.

    Raises:
        LightError: a library is missing, or a pin cannot be driven.
    """
    if settings.kind == "rgb":
        pins = settings.pins or DEFAULT_RGB_PINS
        return RgbPins(pins["red"], pins["green"], pins["blue"], active_low=settings.active_low)
    if settings.kind == "pins":
        return EmotionPins(settings.pins, active_low=settings.active_low)
    if settings.kind == "terminal":
        return Terminal(sys.stdout)
    return NoLight()
