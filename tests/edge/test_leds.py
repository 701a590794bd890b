"""What a light shows, and when: the meaning, the night, the patterns, the colours, the settings."""

import itertools
from datetime import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import config
from edge.errors import ConfigError, LightError
from edge.events import UNCERTAIN, Detection, Score
from edge.labels import EMOTIONS
from edge.leds import (
    COLOURS,
    FAULT,
    HOLD_S,
    LISTENING,
    MUTED,
    NAMES,
    OFF,
    PATTERN_WORDS,
    PATTERNS,
    STARTING,
    LedSettings,
    Lights,
    Look,
    Night,
    NoLight,
    RecordingLight,
    activation_colour,
    open_backend,
    open_lights,
    parse_colour,
)
from edge.leds.base import light_of, steps_of
from edge.leds.patient import RETRY_S, PatientLight
from edge.leds.patterns import tempo
from edge.leds.terminal import Terminal
from edge.observers import Phase


def score(label: str | None, confidence: float = 0.8, activation: float = 0.5) -> Score:
    return Score(0.0, dict.fromkeys(EMOTIONS, 0.125), label, confidence, activation=activation)


def detection(label: str, confidence: float = 0.8, *, uncertain: bool = False, activation: float = 0.5) -> Detection:
    probs = dict.fromkeys(EMOTIONS, 0.125)
    return Detection(0.0, 1.0, label, confidence, probs, uncertain, activation=activation)


def light(brightness: float = 1.0, colours: dict[str, str] | None = None) -> tuple[Lights, RecordingLight]:
    backend = RecordingLight()
    return Lights(backend, brightness, colours), backend


# --- meaning


def test_a_day_as_it_is_seen():
    lights, backend = light()
    lights.tick(0.0)
    lights.show_status(Phase.LISTENING)
    lights.tick(1.0)
    lights.show_score(score(None))
    lights.tick(2.0)
    lights.show_score(score("angry"))
    lights.tick(3.0)
    lights.show_detection(detection("sad"))
    lights.tick(4.0)
    lights.show_detection(detection("happy", uncertain=True))
    lights.tick(5.0)
    lights.show_status(Phase.MUTED)
    lights.tick(6.0)
    lights.show_status(Phase.LISTENING)
    lights.tick(7.0)
    lights.show_status(Phase.FAULT)
    lights.tick(8.0)
    lights.close()
    assert backend.names == [
        *(STARTING, LISTENING, UNCERTAIN, "angry", "sad", UNCERTAIN, MUTED, LISTENING, FAULT, OFF),
    ]
    assert backend.history[-1].rgb == (0.0, 0.0, 0.0)
    assert backend.is_closed


def test_confidence_is_intensity_and_brightness_dims_it():
    lights, backend = light()
    for confidence in (0.0, 0.5, 1.0):
        lights.show_score(score("neutral", confidence))
        lights.tick(0.0)
    weak, middle, strong = (look.rgb[0] for look in backend.history)
    assert 0.2 < weak < middle < strong == 1.0
    lights, backend = light(brightness=0.5)
    lights.show_score(score("neutral", 1.0))
    lights.tick(0.0)
    assert backend.history[-1].rgb == (0.5, 0.5, 0.5)


def test_while_unsure_the_colour_is_that_of_the_activation():
    lights, backend = light()
    for activation in (0.0, 0.5, 1.0):
        lights.show_score(score(None, 0.4, activation))
        lights.tick(0.0)
    low, middle, high = backend.history
    assert low.rgb[2] > low.rgb[1] > low.rgb[0]  # bluish
    assert middle.rgb[0] == middle.rgb[1] == middle.rgb[2]  # white
    assert high.rgb[0] > high.rgb[1] > high.rgb[2]  # amber
    assert [look.activation for look in backend.history] == [0.0, 0.5, 1.0]
    assert [look.confidence for look in backend.history] == [0.0, 0.0, 0.0]  # that of an emotion nobody is shown


def test_a_sure_emotion_keeps_its_activation_for_those_who_can_show_both():
    lights, backend = light()
    lights.show_detection(detection("happy", 0.9, activation=0.7))
    lights.tick(0.0)
    assert (backend.history[-1].confidence, backend.history[-1].activation) == (0.9, 0.7)
    assert backend.history[-1].colour == parse_colour(COLOURS["happy"])


@pytest.mark.parametrize(("activation", "n_breaths"), [(0.0, 2), (1.0, 15)])
def test_a_lively_voice_breathes_more_quickly(activation, n_breaths):
    lights, backend = light()
    for now_s in np.arange(0, 10, 0.02):
        lights.show_score(score(None, activation=activation))
        lights.tick(float(now_s))
    levels = np.array([look.level for look in backend.history])
    assert ((levels[1:] < 0.6) & (levels[:-1] >= 0.6)).sum() == n_breaths


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60))
def test_the_breathing_never_jumps_however_the_activation_does(activations):
    lights, backend = light()
    levels = []
    for i, activation in enumerate(activations):
        lights.show_score(score(None, activation=activation))
        lights.tick(i * 0.02)
        levels.append(backend.history[-1].level)
    steepest = 0.4 * 2 * np.pi * tempo(1.0)  # a swing of 0.4 to both sides
    assert np.abs(np.diff(levels)).max() <= steepest * 0.02 + 1e-9


def test_what_was_heard_fades_back_to_listening_by_itself():
    lights, backend = light()
    for heard in (detection("calm"), detection("calm", uncertain=True)):
        lights.show_detection(heard)
        lights.tick(100.0)
        lights.tick(100.0 + HOLD_S - 0.1)
        assert backend.names[-1] == (UNCERTAIN if heard.uncertain else "calm")
        lights.tick(100.0 + HOLD_S)
        assert backend.names[-1] == LISTENING


@pytest.mark.parametrize("phase", Phase)
def test_a_status_stays_until_it_changes_and_does_not_cut_short_what_was_heard(phase):
    lights, backend = light()
    lights.show_status(phase)
    lights.tick(0.0)
    lights.tick(1000.0)
    assert backend.names == [phase.value]
    lights.show_score(score("happy"))
    lights.show_status(Phase.LISTENING)  # as it was: somebody is heard
    lights.tick(1001.0)
    assert backend.names == [phase.value, "happy"]


def test_a_new_score_does_not_start_the_pattern_again():
    lights, backend = light()
    for i in range(10):
        lights.show_score(score("angry"))
        lights.tick(i * 0.1)
    assert [look.level for look in backend.history] == [1, 0, 1, 0, 1]  # 0.2 s on, 0.2 s off; repetitions left out


def test_an_emotion_can_have_another_colour():
    lights, backend = light(colours={"happy": "#00ff00"})
    lights.show_score(score("happy", 1.0))
    lights.tick(0.0)
    assert backend.history[-1].rgb == (0.0, 1.0, 0.0)


def test_a_label_from_elsewhere_is_named():
    lights, _ = light()
    for label in ("bored", LISTENING):
        with pytest.raises(LightError, match=f'no light for "{label}".*neutral, calm'):
            lights.show_score(score(label))


@given(st.lists(st.tuples(st.sampled_from((*EMOTIONS, None)), st.floats(-1, 2), st.floats(-1, 2), st.floats(0, 10))))
def test_every_look_is_in_range(steps):
    lights, backend = light()
    now_s = 0.0
    for label, confidence, activation, wait_s in steps:
        lights.show_score(score(label, confidence, activation))
        lights.tick(now_s := now_s + wait_s)
        look = backend.history[-1]
        assert look.name == (label or UNCERTAIN)
        assert all(0 <= value <= 1 for value in (look.confidence, look.level, look.activation, *look.rgb))


# --- night


@pytest.mark.parametrize(
    ("begin", "end", "inside", "outside"),
    [
        (
            "22:00",
            "07:00",
            [time(22, 0), time(23, 59, 59), time(0, 0), time(6, 59, 59)],
            [time(21, 59, 59), time(7, 0)],
        ),
        ("00:30", "05:00", [time(0, 30), time(4, 59)], [time(0, 29), time(5, 0), time(23, 0)]),
        ("", "", [], [time(0, 0), time(3, 0), time(12, 0)]),
    ],
)
def test_the_hours_of_the_night(begin, end, inside, outside):
    night = Night(begin, end)
    assert all(night.covers(moment) for moment in inside)
    assert not any(night.covers(moment) for moment in outside)


@pytest.mark.parametrize(("day", "at_night", "expected"), [(1.0, 0.1, 0.1), (0.05, 0.1, 0.05), (1.0, 0.0, 0.0)])
def test_the_night_dims_and_never_brightens(day, at_night, expected):
    backend, now = RecordingLight(), [time(12, 0)]
    lights = Lights(backend, day, night=Night("22:00", "07:00", at_night), time_of_day=lambda: now[0])
    lights.show_score(score("neutral", 1.0))
    lights.tick(0.0)
    assert backend.history[-1].rgb == (day,) * 3
    now[0] = time(2, 0)
    lights.tick(0.0)
    assert backend.history[-1].rgb == (expected,) * 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("from = '22:00'", 'leds.night.to = "": a night needs both from and to'),
        ("to = '22:00'", 'leds.night.from = "": a night needs both from and to'),
        ("from = '24:00'\nto = '07:00'", 'leds.night.from = "24:00": expected a time of day from "00:00" to "23:59"'),
        ("from = '22:00'\nto = '7:00'", 'leds.night.to = "7:00": expected a time of day'),
        ("from = '22:00'\nto = '22:00'", "the night would end when it begins"),
        ("from = '22:00'\nto = '²2:00'", "expected a time of day"),
        ("form = '22:00'", "unknown key leds.night.form (did you mean leds.night.from?)"),
        ("brightness = 2", "leds.night.brightness = 2: expected a number from 0 to 1"),
    ],
)
def test_a_bad_night_is_one_clear_line(table, message):
    with pytest.raises(ConfigError) as caught:
        config.parse(f"[leds.night]\n{table}", Path("/c.toml"))
    assert message in str(caught.value)


def test_a_night_survives_the_configuration():
    text = "[leds.night]\nfrom = '22:00'\nto = '07:00'\nbrightness = 0.2"
    loaded = config.parse(text, Path("/c.toml"))
    assert loaded.leds.night == Night("22:00", "07:00", 0.2)
    assert config.parse(config.render(loaded), Path("/c.toml")) == loaded


# --- patterns and colours


def test_everything_that_can_be_shown_has_its_own_pattern():
    assert set(PATTERNS) == set(PATTERN_WORDS) == set(NAMES)
    assert len(set(PATTERN_WORDS.values())) == len(NAMES)
    times = np.arange(0, 12, 0.05)
    shapes = {name: np.array([pattern(t) for t in times]) for name, pattern in PATTERNS.items()}
    for one, other in itertools.combinations(shapes, 2):
        assert np.abs(shapes[one] - shapes[other]).mean() > 0.04, (one, other)
    assert all(((shape >= 0) & (shape <= 1)).all() for shape in shapes.values())


@pytest.mark.parametrize("name", NAMES)
def test_never_more_than_three_flashes_in_a_second(name):
    pace = tempo(1.0) if name == UNCERTAIN else 1.0
    levels = np.array([PATTERNS[name](pace * t) for t in np.arange(0, 20, 0.01)])
    flashes = np.flatnonzero((levels[1:] >= 0.5) & (levels[:-1] < 0.5))
    counts = [((flashes >= i) & (flashes < i + 100)).sum() for i in range(len(levels))]
    assert max(counts) <= 3


def test_patterns_of_lively_emotions_move_more_quickly():
    def turns(name):
        levels = np.array([PATTERNS[name](t) for t in np.arange(0, 12, 0.01)])
        return np.abs(np.diff(levels)).sum()

    quiet, lively = ("neutral", "calm", "sad"), ("happy", "angry", "fearful", "surprised")
    assert max(map(turns, quiet)) < min(map(turns, lively)) / 2


# How colours look without one kind of cone: Machado, Oliveira and Fernandes (2009), for linear RGB.
VISIONS = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(linear_rgb):
    """CIELAB (D65) of linear sRGB: a difference of 10 is plain to see."""
    xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]] @ linear_rgb
    x, y, z = np.cbrt(np.maximum(xyz, 0.008856) / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def seen(vision, rgb):
    return lab(np.clip(VISIONS[vision] @ np.array(light_of(rgb)), 0, 1))


@pytest.mark.parametrize("vision", VISIONS)
def test_the_default_colours_can_be_told_apart(vision):
    assert tuple(COLOURS) == EMOTIONS
    colours = {name: seen(vision, parse_colour(text)) for name, text in COLOURS.items()}
    for one, other in itertools.combinations(colours, 2):
        assert np.linalg.norm(colours[one] - colours[other]) > 10, (one, other)


@pytest.mark.parametrize("vision", VISIONS)
def test_the_scale_of_activation_can_be_read(vision):
    scale = [seen(vision, activation_colour(activation)) for activation in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for one, other in itertools.pairwise(scale):
        assert np.linalg.norm(one - other) > 7
    for name, text in COLOURS.items():
        if name != "neutral":  # white is the middle of the scale: there, the pattern decides
            assert min(np.linalg.norm(seen(vision, parse_colour(text)) - step) for step in scale) > 7, name


def test_steps_of_light():
    assert steps_of((1.0, 0.5, 0.0), 100) == (100, 22, 0)  # half the number on a screen is about a fifth of the light
    assert steps_of((0.0, 0.0, 0.0), 255) == (0, 0, 0)
    assert steps_of((0.01, 0.005, 0.0), 255) == (1, 0, 0)  # dim is not dark


# --- a light that comes and goes


def test_a_light_that_is_not_there_yet_is_opened_when_it_is():
    now_s, opened, is_there = [0.0], [], [False]

    def open_recording():
        if not is_there[0]:
            raise LightError("no light; plug it in")
        opened.append(RecordingLight())
        return opened[-1]

    patient = PatientLight(open_recording, lambda: now_s[0])
    look = Look("sad", 1.0, 1.0, (0, 0, 1))
    for now_s[0] in (0.0, 1.0, RETRY_S - 1):
        with pytest.raises(LightError, match="no light; plug it in"):
            patient.show(look)
        is_there[0] = True  # which is not looked for all the time
    now_s[0] = RETRY_S
    patient.show(look)
    assert opened[0].names == ["sad"]
    patient.close()
    patient.close()
    patient.show(look)
    assert (len(opened), opened[0].names, opened[0].is_closed) == (1, ["sad", OFF], True)


def test_a_light_that_fails_is_opened_anew():
    class Mortal(RecordingLight):
        is_dead = False

        def show(self, look):
            if self.is_dead:
                raise LightError("gone")
            super().show(look)

    now_s, opened = [0.0], []

    def open_mortal():
        opened.append(Mortal())
        return opened[-1]

    patient = PatientLight(open_mortal, lambda: now_s[0])
    look = Look("sad", 1.0, 1.0, (0, 0, 1))
    patient.show(look)
    opened[0].is_dead = True
    for _ in range(3):
        with pytest.raises(LightError, match="gone"):
            patient.show(look)
    now_s[0] += RETRY_S
    patient.show(look)
    assert [backend.names for backend in opened] == [["sad"], ["sad"]]


def test_the_daemons_light_can_be_made_while_there_is_none():
    lights = open_lights(LedSettings(kind="apa102", device="/dev/no-such-spi"))
    for _ in range(2):
        with pytest.raises(LightError, match="/dev/no-such-spi: No such file or directory; switch SPI on"):
            lights.tick(0.0)
    lights.close()


# --- settings


def test_settings_from_a_table():
    table = {
        "kind": "rgb",
        "pins": {"red": 5, "green": 6, "blue": 13},
        "active_low": True,
        "colours": {"sad": "#0000Ff"},
    }
    settings = msgspec.convert(table, LedSettings)
    assert settings.pins["blue"] == 13
    assert parse_colour(settings.colours["sad"]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "laser"}, "laser"),
        ({"brightness": 1.5}, "<= 1.0"),
        ({"colour": {}}, "unknown field `colour`"),
        ({"colours": {"bored": "#000000"}}, 'colours.bored: there is no emotion "bored", only neutral'),
        ({"colours": {"sad": "blue"}}, "colours.sad: 'blue' is not a colour: write \"#rrggbb\""),
        ({"colours": {"sad": "#12345"}}, "is not a colour"),
        ({"colours": {"sad": "#+1+1+1"}}, "is not a colour"),
        ({"kind": "rgb", "pins": {"red": 17}}, "needs green and blue too"),
        ({"kind": "rgb", "pins": {"red": 17, "green": 17, "blue": 4}}, "pins.green = 17: GPIO 17 is in use for red"),
        ({"kind": "rgb", "pins": {"happy": 17}}, 'has no "happy", only red, green, blue'),
        ({"kind": "pins"}, "needs a pin for at least one"),
        ({"kind": "pins", "pins": {"sad": 40}}, "pins.sad = 40: there is no GPIO 40 on the header, only 2 to 27"),
        ({"kind": "pins", "pins": {"off": 4}}, 'pins.off: kind "pins" has no "off", only neutral'),
        ({"kind": "lines"}, "needs a pin for at least one"),
        ({"kind": "lines", "pins": {"sad": -1}}, "pins.sad = -1: the lines of a chip count from 0"),
        ({"kind": "apa102", "pins": {"enable": 5}}, 'pins.enable: kind "apa102" has no "enable", only power'),
        ({"kind": "apa102", "n_leds": 0}, ">= 1"),
        ({"kind": "neopixel", "n_leds": 145}, "<= 144"),
    ],
)
def test_bad_settings_are_one_clear_line(table, message):
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(table, LedSettings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_kind_picks_the_backend():
    assert isinstance(open_backend(LedSettings()), Terminal)
    dark = open_backend(LedSettings(kind="none"))
    assert isinstance(dark, NoLight)
    dark.show(Look("sad", 1.0, 1.0, (0, 0, 1)))
    dark.close()
