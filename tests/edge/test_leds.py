"""What a light shows, and when: the meaning, the patterns, the colours, the settings and the terminal."""

import io
import itertools
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import LightError
from edge.events import UNCERTAIN, Detection, Score
from edge.labels import EMOTIONS
from edge.leds import (
    COLOURS,
    HOLD_S,
    LISTENING,
    NAMES,
    OFF,
    LedSettings,
    Lights,
    Look,
    NoLight,
    RecordingLight,
    open_backend,
    parse_colour,
)
from edge.leds.patterns import PATTERNS
from edge.leds.terminal import Terminal, nearest_of_256


def score(label: str | None, confidence: float = 0.8) -> Score:
    return Score(0.0, dict.fromkeys(EMOTIONS, 0.125), label, confidence)


def detection(label: str, confidence: float = 0.8, *, uncertain: bool = False) -> Detection:
    return Detection(0.0, 1.0, label, confidence, dict.fromkeys(EMOTIONS, 0.125), uncertain)


def light(brightness: float = 1.0, colours: dict[str, str] | None = None) -> tuple[Lights, RecordingLight]:
    backend = RecordingLight()
    return Lights(backend, brightness, colours), backend


# --- meaning


def test_a_conversation_as_it_is_seen():
    lights, backend = light()
    lights.tick(0.0)
    lights.show_score(score(None))
    lights.tick(1.0)
    lights.show_score(score("angry"))
    lights.tick(2.0)
    lights.show_detection(detection("sad"))
    lights.tick(3.0)
    lights.show_detection(detection("happy", uncertain=True))
    lights.tick(4.0)
    lights.show_idle()
    lights.tick(5.0)
    lights.show_off()
    lights.tick(6.0)
    lights.close()
    assert backend.names == [LISTENING, UNCERTAIN, "angry", "sad", UNCERTAIN, LISTENING, OFF]
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


def test_what_was_heard_fades_back_to_listening_by_itself():
    lights, backend = light()
    lights.show_detection(detection("calm"))
    lights.tick(100.0)
    lights.tick(100.0 + HOLD_S - 0.1)
    assert backend.history[-1].name == "calm"
    lights.tick(100.0 + HOLD_S)
    assert backend.history[-1].name == LISTENING


def test_off_stays_off():
    lights, backend = light()
    lights.show_off()
    lights.tick(0.0)
    lights.tick(1000.0)
    assert backend.names == [OFF]


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
    with pytest.raises(LightError, match=r'no light for "bored".*neutral, calm'):
        lights.show_score(score("bored"))


@given(st.lists(st.tuples(st.sampled_from((*EMOTIONS, None)), st.floats(-1, 2), st.floats(0, 10))))
def test_every_look_is_in_range(steps):
    lights, backend = light()
    now_s = 0.0
    for label, confidence, wait_s in steps:
        lights.show_score(score(label, confidence))
        lights.tick(now_s := now_s + wait_s)
        look = backend.history[-1]
        assert look.name == (label or UNCERTAIN)
        assert all(0 <= value <= 1 for value in (look.confidence, look.level, *look.rgb))


# --- patterns and colours


def test_everything_that_can_be_shown_has_its_own_pattern():
    assert set(PATTERNS) == set(NAMES)
    times = np.arange(0, 12, 0.05)
    shapes = {name: np.array([pattern(t) for t in times]) for name, pattern in PATTERNS.items()}
    for one, other in itertools.combinations(shapes, 2):
        assert np.abs(shapes[one] - shapes[other]).mean() > 0.04, (one, other)
    assert all(((shape >= 0) & (shape <= 1)).all() for shape in shapes.values())


@pytest.mark.parametrize("name", NAMES)
def test_never_more_than_three_flashes_in_a_second(name):
    levels = np.array([PATTERNS[name](t) for t in np.arange(0, 20, 0.01)])
    flashes = np.flatnonzero((levels[1:] >= 0.5) & (levels[:-1] < 0.5))
    counts = [((flashes >= i) & (flashes < i + 100)).sum() for i in range(len(levels))]
    assert max(counts) <= 3


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


@pytest.mark.parametrize("vision", VISIONS)
def test_the_default_colours_can_be_told_apart(vision):
    assert tuple(COLOURS) == EMOTIONS
    seen = {
        name: lab(np.clip(VISIONS[vision] @ np.power(parse_colour(text), 2.2), 0, 1)) for name, text in COLOURS.items()
    }
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 10, (one, other)


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


# --- terminal


class Screen(io.StringIO):
    """A text stream that is a terminal and understands as much of it as the light uses."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


HAPPY = Look("happy", 0.87, 1.0, (1.0, 0.8, 0.0))


def drawn(look: Look, *, columns: int = 80, **environ: str) -> str:
    screen = Screen()
    Terminal(screen, environ=environ, columns=columns).show(look)
    return screen.getvalue()


def visible(text: str) -> str:
    """`text` without its escape sequences, checked against what a terminal makes of them."""
    out, rest = "", text
    while rest:
        if rest.startswith("\x1b["):
            end = next(i for i, c in enumerate(rest) if i > 1 and c.isalpha())
            assert rest[end] in "mK"
            rest = rest[end + 1 :]
        else:
            out, rest = out + rest[0], rest[1:]
    return out


def test_one_line_with_patch_word_and_bar():
    text = drawn(HAPPY, COLORTERM="truecolor")
    assert text == f"\r\x1b[48;2;255;204;0m    \x1b[0m happy     {'█' * 17}{'·' * 3}  87%\x1b[K"


def test_256_colours_where_true_colour_is_not_promised():
    assert "\x1b[48;5;220m" in drawn(HAPPY)


def test_shades_where_colours_are_not_wanted():
    text = drawn(HAPPY, NO_COLOR="1", COLORTERM="truecolor")
    assert "m" not in text.replace("happy", "")
    assert visible(text).startswith("\r████ happy")
    assert visible(drawn(Look("happy", 0.87, 0.0, (0, 0, 0)), NO_COLOR="1")).startswith("\r     happy")
    assert "\x1b[48;2" in drawn(HAPPY, NO_COLOR="", COLORTERM="truecolor")  # empty counts as unset


@pytest.mark.parametrize("columns", [1, 2, 5, 10, 16, 20, 25, 40, 41, 79, 200])
@pytest.mark.parametrize("name", NAMES)
def test_a_line_never_wraps(name, columns):
    line = visible(drawn(Look(name, 1.0, 1.0, (1, 1, 1)), columns=columns)).removeprefix("\r")
    assert len(line) < max(columns, 2)
    if columns >= 40:
        assert name in line and "100%" in line and line.count("█") >= 5


def test_the_line_is_drawn_in_place_and_only_on_a_change():
    screen = Screen()
    terminal = Terminal(screen, environ={}, columns=40)
    terminal.show(HAPPY)
    once = screen.getvalue()
    terminal.show(HAPPY)
    assert screen.getvalue() == once
    terminal.show(Look("sad", 0.5, 1.0, (0, 0, 1)))
    assert screen.getvalue().count("\r") == 2
    assert "\n" not in screen.getvalue()
    terminal.close()
    assert screen.getvalue().endswith("\r\x1b[0m\x1b[K")
    terminal.show(HAPPY)
    terminal.close()
    assert screen.getvalue().endswith("\r\x1b[0m\x1b[K")


def test_a_plain_line_for_each_change_where_there_is_no_terminal():
    for stream, environ in ((io.StringIO(), {"COLORTERM": "truecolor"}), (Screen(), {"TERM": "dumb"})):
        terminal = Terminal(stream, environ=environ)
        for level in (0.0, 0.5, 1.0):
            terminal.show(Look(LISTENING, 0.0, level, (level, level, level)))
        for confidence in (0.6, 0.7, 0.8):
            terminal.show(Look("happy", confidence, 1.0, (1, 1, 0)))
        terminal.show(Look(LISTENING, 0.0, 1.0, (1, 1, 1)))
        terminal.close()
        assert stream.getvalue() == "listening\nhappy      60%\nlistening\n"


def test_a_terminal_without_blocks_gets_plain_characters():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    stream.isatty = lambda: True  # type: ignore[method-assign]
    Terminal(stream, environ={"NO_COLOR": "1"}, columns=40).show(HAPPY)
    assert b"#### happy" in raw.getvalue()


def test_a_reader_that_has_gone_is_one_clear_line():
    program = (
        "import os, sys\n"
        "from edge.errors import LightError\n"
        "from edge.leds import Look\n"
        "from edge.leds.terminal import Terminal\n"
        "terminal = Terminal(sys.stdout)\n"
        "sys.stdin.read()\n"
        "try:\n"
        "    terminal.show(Look('happy', 0.5, 1.0, (1, 1, 0)))\n"
        "except LightError as error:\n"
        "    print(error, file=sys.stderr)\n"
        "    os._exit(3)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin and child.stdout and child.stderr
    child.stdout.close()
    child.stdin.close()
    assert child.wait(60) == 3
    assert child.stderr.read() == (
        "cannot draw the light in the terminal: Broken pipe; leds.kind picks another light\n"
    )


def test_a_closed_stream_is_a_light_error():
    stream = io.StringIO()
    terminal = Terminal(stream)
    stream.close()
    with pytest.raises(LightError, match="closed file"):
        terminal.show(HAPPY)


@pytest.mark.parametrize(
    ("rgb", "number"),
    [((0, 0, 0), 16), ((1, 1, 1), 231), ((1, 0, 0), 196), ((0.5, 0.5, 0.5), 244), ((0, 95 / 255, 1), 27)],
)
def test_the_nearest_of_256_colours(rgb, number):
    assert nearest_of_256(rgb) == number
