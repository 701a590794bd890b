"""Lights: what a backend must be able to do, the patterns it is asked to show, and the backends.

`base` has the words, `patterns` the movement, `lights` the meaning, `terminal` and `gpio` the backends, `settings` the
table of the configuration that picks one.
"""

from edge.leds.base import (
    BLACK,
    COLOURS,
    LISTENING,
    NAMES,
    OFF,
    LightBackend,
    Look,
    NoLight,
    RecordingLight,
    Rgb,
    parse_colour,
)
from edge.leds.lights import HOLD_S, Lights
from edge.leds.settings import LedSettings, open_backend

__all__ = [
    "BLACK",
    "COLOURS",
    "HOLD_S",
    "LISTENING",
    "NAMES",
    "OFF",
    "LedSettings",
    "LightBackend",
    "Lights",
    "Look",
    "NoLight",
    "RecordingLight",
    "Rgb",
    "open_backend",
    "parse_colour",
]
