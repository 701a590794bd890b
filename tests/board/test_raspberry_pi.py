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
