"""`tonelight leds test`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from edge import config
from edge.events import UNCERTAIN, Detection
from edge.labels import EMOTIONS
from edge.leds import LISTENING, NAMES, OFF, Lights, open_backend

EACH_S = 2.5
_STEP_S = 0.02


def run(args: argparse.Namespace) -> int:
    """Show everything the light of the configuration can show, one after the other, by name.

    Raises:
        ConfigError: the configuration cannot be used.
        LightError: the light cannot be driven.
    """
    settings = config.load(args.config).leds
    lights = Lights(open_backend(settings), settings.brightness, settings.colours)
    # in the terminal, the light itself says what it shows
    say = _silent if settings.kind == "terminal" else _say
    if settings.kind == "none":
        print('leds.kind = "none": there is no light to test')
        return 0
    try:
        show_all(lights, say, EACH_S)
    finally:
        lights.close()
    return 0


def show_all(lights: Lights, say: Callable[[str], None], each_s: float) -> None:
    """Show each emotion and each status for `each_s`, after announcing it with `say`.

    Raises:
        LightError: the light cannot be driven.
    """
    for name in NAMES:
        say(name)
        if name == OFF:
            lights.show_off()
        elif name == LISTENING:
            lights.show_idle()
        else:
            label = EMOTIONS[0] if name == UNCERTAIN else name
            lights.show_detection(Detection(0.0, 1.0, label, 1.0, {label: 1.0}, name == UNCERTAIN))
        end_s = time.monotonic() + each_s
        while time.monotonic() < end_s:
            lights.tick(time.monotonic())
            time.sleep(_STEP_S)


def _say(name: str) -> None:
    print(name, flush=True)


def _silent(name: str) -> None:
    pass
