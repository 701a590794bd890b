"""`tonelight leds test`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping

from edge import config
from edge.errors import LightError
from edge.events import UNCERTAIN, Detection
from edge.health import light_user
from edge.labels import EMOTIONS, HIGH, LOW
from edge.leds import MARK_WORDS, PATTERN_WORDS, Lights, open_backend
from edge.observers import Phase

EACH_S = 3.0
_STEP_S = 0.02
_COLOUR_WORDS = {
    "neutral": "white",
    "calm": "light blue",
    "happy": "yellow",
    "sad": "blue",
    "angry": "orange-red",
    "fearful": "pink",
    "disgusted": "green",
    "surprised": "orange",
    Phase.STARTING.value: "white",
    Phase.LISTENING.value: "white",
    Phase.MUTED.value: "red",
    Phase.FAULT.value: "red",
}
_VOICES = (
    (0.0, "a quiet voice: pale blue, breathing slowly"),
    (0.5, "in between: white, breathing"),
    (1.0, "a lively voice: pale amber, breathing quickly"),
)


def run(args: argparse.Namespace) -> int:
    """Show everything the light of the configuration can show, one after the other, and say what to look for.

    Raises:
        ConfigError: the configuration cannot be used.
        LightError: the light cannot be driven, or a running tonelight may be driving it.
    """
    settings = config.load(args.config).leds
    if settings.kind == "none":
        print('leds.kind = "none": there is no light to test')
        return 0
    if settings.kind != "terminal" and (report := light_user()) is not None:
        raise LightError(
            f"tonelight runs (process {report.pid}), and its light would be dark after the test; stop it first: "
            "sudo systemctl stop tonelight, or Ctrl-C where it was started by hand"
        )
    # by day, however late it is: whoever tests wants to see something
    lights = Lights(open_backend(settings), settings.brightness, settings.colours)
    try:
        show_all(lights, _say, EACH_S, settings.colours)
        _say("off: dark")
    finally:
        lights.close()
    return 0


def show_all(lights: Lights, say: Callable[[str], None], each_s: float, colours: Mapping[str, str]) -> None:
    """Show each emotion and each status for `each_s`, after announcing with `say` its name and what to look for.

    Raises:
        LightError: the light cannot be driven.
    """
    for text, show in _scenes(lights, {**_COLOUR_WORDS, **colours}):
        say(text)
        show()
        end_s = time.monotonic() + each_s
        while time.monotonic() < end_s:
            lights.tick(time.monotonic())
            time.sleep(_STEP_S)


def _scenes(lights: Lights, colours: Mapping[str, str]) -> Iterator[tuple[str, Callable[[], None]]]:
    def show(label: str, activation: float, is_uncertain: bool) -> Callable[[], None]:
        heard = Detection(0.0, 1.0, label, 1.0, {label: 1.0}, is_uncertain, activation=activation)
        return lambda: lights.show_detection(heard)

    for name in EMOTIONS:
        activation = 0.9 if name in HIGH else 0.1 if name in LOW else 0.5
        yield f"{name}: {colours[name]}, {PATTERN_WORDS[name]}", show(name, activation, False)
    for activation, words in _VOICES:
        yield f"{UNCERTAIN}, {words}", show(EMOTIONS[0], activation, True)
    yield f"capturing, clips of speech are kept: {MARK_WORDS}", lambda: lights.show_capturing(True)
    lights.show_capturing(False)
    for phase in Phase:
        text = f"{phase.value}: {colours[phase.value]}, {PATTERN_WORDS[phase.value]}"
        yield text, lambda phase=phase: lights.show_status(phase)  # type: ignore[misc]


def _say(text: str) -> None:
    # on a terminal, the light may be drawn in the line that the cursor is in
    print(f"\r\x1b[K{text}" if sys.stdout.isatty() else text, flush=True)
