"""Lights: what a backend must be able to do, the patterns it is asked to show, and the backends.

`base` has the words, `patterns` the movement, `lights` the meaning, `night` its hours; `settings` is the table of the
configuration and opens the backend that it asks for: `terminal`, `gpio` and `lines` (pins), `kernel`, `strips`.
"""

from edge.leds.base import (
    BLACK,
    CAPTURING,
    COLOURS,
    FAULT,
    LISTENING,
    MUTED,
    NAMES,
    OFF,
    STARTING,
    LightBackend,
    Look,
    NoLight,
    RecordingLight,
    Rgb,
    activation_colour,
    parse_colour,
)
from edge.leds.lights import HOLD_S, Lights
from edge.leds.night import Night
from edge.leds.patterns import MARK_WORDS, PATTERN_WORDS, PATTERNS
from edge.leds.settings import LedSettings, open_backend, open_lights

__all__ = [
    "BLACK",
    "CAPTURING",
    "COLOURS",
    "FAULT",
    "HOLD_S",
    "LISTENING",
    "MARK_WORDS",
    "MUTED",
    "NAMES",
    "OFF",
    "PATTERNS",
    "PATTERN_WORDS",
    "STARTING",
    "LedSettings",
    "LightBackend",
    "Lights",
    "Look",
    "Night",
    "NoLight",
    "RecordingLight",
    "Rgb",
    "activation_colour",
    "open_backend",
    "open_lights",
    "parse_colour",
]
