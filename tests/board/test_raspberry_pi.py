"""On a Raspberry Pi 3 (aarch64), with the original RPi.GPIO: it hears what this machine hears, and its pins say so."""

import json
import sys
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import pytest
import soundfile
from board_image import ROOT
from board_life import detections
from board_pi import DEMO, GUEST_PI, RaspberryPi, Watch

from edge.events import Detection
from edge.pipeline import PROBABILITY_TOLERANCE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAMES = {pin: name for name, pin in tomllib.loads((GUEST_PI / "config.toml").read_text())["leds"]["pins"].items()}


@pytest.fixture(scope="module")
def watch(pi: RaspberryPi) -> Watch:
    """What the pins did while the daemon heard the recording that comes with tonelight, at the pace of a voice."""
    with pi.watched() as watch:
        said = pi.run(f"tonelight run --source {DEMO}")
    assert "ERROR" not in said and "WARNING" not in said
    return watch


@pytest.fixture(scope="module")
def heard(pi: RaspberryPi, watch: Watch) -> list[dict[str, Any]]:
    """What is in the log then."""
    return [json.loads(line) for line in pi.run("tonelight history --json").splitlines()]


@pytest.fixture(scope="module")
def wanted() -> list[Detection]:
    """What this machine makes of the recording."""
    samples, _ = soundfile.read(ROOT / "edge/data/demo.flac", dtype="float32")
    return detections(samples)


def is_in_order(some: Iterable[str], within: Iterable[str]) -> bool:
    rest = iter(within)
    return all(name in rest for name in some)


def test_another_processor_hears_the_same(
    pi: RaspberryPi, heard: list[dict[str, Any]], wanted: list[Detection]
) -> None:
    assert pi.run("uname -m") == "aarch64\n"
    assert len(wanted) > 3
    for event, here in zip(heard, wanted, strict=True):
        assert (event["start_s"], event["end_s"]) == (pytest.approx(here.start_s), pytest.approx(here.end_s))
        assert (event["label"], event["uncertain"]) == (here.label, here.uncertain)
        # what a board may differ by in its golden vectors
        assert event["probs"] == pytest.approx(here.probs, abs=PROBABILITY_TOLERANCE)
        assert event["activation"] == pytest.approx(here.activation, abs=PROBABILITY_TOLERANCE)


def test_original_rpi_gpio_lights_what_was_heard(pi: RaspberryPi, watch: Watch, wanted: list[Detection]) -> None:
    assert "/dist-packages/RPi/" in pi.run("PYTHONPATH=/opt/tonelight python3 -c 'import RPi; print(RPi.__file__)'")
    lit = [NAMES[pin] for pin, is_up in watch.changes if is_up]
    told = [name for name, _ in groupby("uncertain" if event.uncertain else event.label for event in wanted)]
    assert lit[0] in ("starting", "listening")
    assert len(told) > 1 and is_in_order(["listening", *told], lit), lit
    assert not {"muted", "fault"} & set(lit)
    assert watch.seen and {NAMES[pin] for pin in watch.seen} <= set(lit)
    assert not pi.levels(), "it left an LED on"


def test_one_led_at_a_time(watch: Watch) -> None:
    up: set[int] = set()
    for pin, is_up in watch.changes:
        up = up | {pin} if is_up else up - {pin}
        assert len(up) <= 2  # the next one may be lit before the last one is out
    assert not up


RGB = {"red": 24, "green": 25, "blue": 26}  # pins that nothing else here uses
DIMMED = """set -e
cat >/run/rgb.toml <<'END'
[leds]
kind = "rgb"
brightness = {brightness}
pins = {{ red = 24, green = 25, blue = 26 }}
active_low = {active_low}
END
python3 -c 'import wave; file = wave.open("/run/silence.wav", "wb")
file.setparams((1, 2, 8000, 0, "NONE", "")); file.writeframes(bytes(2 * 8000 * 600))'
rm -f /run/tonelight/health.json
tonelight run --config /run/rgb.toml --source /run/silence.wav >/run/rgb.log 2>&1 &
echo $! >/run/rgb.pid
"""


def dimmed(pi: RaspberryPi, mute: bool, brightness: float, active_low: bool = False) -> Watch:
    """What the pins of one LED do for some seconds: the daemon is muted (steady red), or listens (white flashes)."""
    pi.run("mkdir -p /var/lib/tonelight; rm -f /var/lib/tonelight/mute")
    if mute:
        pi.run("touch /var/lib/tonelight/mute")
    pi.run(DIMMED.format(brightness=brightness, active_low=str(active_low).lower()))
    try:
        phase = "muted" if mute else "listening"
        pi.until(f'grep -q \'"phase":"{phase}"\' /run/tonelight/health.json')
        with pi.watched() as watch:
            pi.run("sleep 6")
    finally:
        pi.run("kill -INT $(cat /run/rgb.pid); while test -e /proc/$(cat /run/rgb.pid); do sleep 0.1; done")
        pi.run("rm -f /var/lib/tonelight/mute")
    assert "WARNING" not in pi.run("cat /run/rgb.log") and "ERROR" not in pi.run("cat /run/rgb.log")
    # RPi.GPIO's own threads pull a pin down when its pulses end, but by then it is an input, and lights nothing
    assert not pi.outputs() & set(RGB.values()), "it left the LED on"
    return watch


def test_original_rpi_gpio_dims_an_rgb_led(pi: RaspberryPi) -> None:
    white, red = dimmed(pi, mute=False, brightness=1.0), dimmed(pi, mute=True, brightness=1.0)
    assert {pin for pin, _ in white.changes} == set(RGB.values())
    assert {pin for pin, _ in red.changes} == {RGB["red"]}
    faint, upside_down = dimmed(pi, mute=True, brightness=0.6), dimmed(pi, mute=True, brightness=1.0, active_low=True)
    # pulses are the longer the slower this machine is, but not the shares of them among each other
    share = {name: watch.share_up(RGB["red"]) for name, watch in locals().items() if isinstance(watch, Watch)}
    assert 0 < share["faint"] < share["red"] < share["upside_down"] < 1, share
