"""The light drawn in a terminal."""

import io
import subprocess
import sys
from dataclasses import replace

import pytest

from edge.errors import LightError
from edge.events import UNCERTAIN
from edge.leds import COLOURS, LISTENING, MUTED, NAMES, PATTERN_WORDS, Look, activation_colour, parse_colour
from edge.leds.ink import nearest_of_16, nearest_of_256
from edge.leds.terminal import Terminal


class Screen(io.StringIO):
    """A text stream that is a terminal and understands as much of it as the light uses."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


HAPPY = Look("happy", 0.87, 1.0, (1.0, 0.8, 0.0), (1.0, 1.0, 0.0), 0.75)


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


def test_one_line_with_patch_word_bar_and_activation():
    text = drawn(HAPPY, COLORTERM="truecolor")
    assert text.startswith("\r\x1b[48;2;255;204;0m    \x1b[0m happy     \x1b[38;2;255;255;0m" + "━" * 17 + "\x1b[0m")
    assert visible(text) == f"\r     happy     {'━' * 17}{'─' * 3}   87%   low {'─' * 9}●{'─' * 3} high"


def test_a_voice_without_a_sure_emotion_shows_its_activation_in_the_same_place():
    unsure = visible(drawn(Look(UNCERTAIN, 0.0, 1.0, (1, 1, 1), (1, 1, 1), 0.0)))
    assert unsure.partition("low")[0].split() == [UNCERTAIN]
    assert unsure.index("low") == visible(drawn(HAPPY)).index("low")
    assert unsure.endswith(f"low ●{'─' * 12} high")


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_that_clips_are_kept_comes_before_what_may_be_cut_off(columns):
    assert visible(drawn(replace(HAPPY, is_capturing=True), columns=columns)).startswith("\r     clips kept")
    assert "clips kept" not in visible(drawn(HAPPY, columns=columns))


def test_a_status_has_neither_confidence_nor_activation():
    assert visible(drawn(Look(MUTED, 0.0, 1.0, (1, 0, 0)))).strip() == MUTED


def test_as_many_colours_as_the_terminal_promises():
    assert "\x1b[48;2;255;204;0m" in drawn(HAPPY, COLORTERM="truecolor", TERM="linux")
    assert "\x1b[48;5;220m" in drawn(HAPPY, TERM="xterm-256color")
    assert "\x1b[48;5;220m" in drawn(HAPPY)
    for term in ("linux", "ansi", "vt220", "rxvt-16color"):
        assert "\x1b[103m" in drawn(HAPPY, TERM=term)
    assert "\x1b[40m" in drawn(Look("happy", 0.87, 0.0, (0, 0, 0)), TERM="linux")


def test_shades_and_words_where_colours_are_not_wanted():
    text = drawn(HAPPY, columns=100, NO_COLOR="1", COLORTERM="truecolor")
    assert text.count("\x1b[") == 1  # only what clears the rest of the line
    assert visible(text).startswith("\r████ happy")
    assert visible(text).endswith("high   two short flashes")
    assert visible(drawn(Look("happy", 0.87, 0.0, (0, 0, 0)), NO_COLOR="1")).startswith("\r     happy")
    assert "\x1b[48;2" in drawn(HAPPY, NO_COLOR="", COLORTERM="truecolor")  # empty counts as unset


@pytest.mark.parametrize("columns", [1, 2, 5, 16, 25, 40, 46, 51, 52, 200])
@pytest.mark.parametrize("name", NAMES)
def test_a_line_never_wraps(name, columns):
    look = Look(name, 1.0, 1.0, (1, 1, 1), activation=0.5)
    for environ in ({}, {"NO_COLOR": "1"}):
        line = visible(drawn(look, columns=columns, **environ)).removeprefix("\r")
        assert len(line) < max(columns, 2)
        assert columns < 40 or (name in line and "100%" in line)
        assert (line.count("━") >= 5) == (columns == 40 or columns >= 52)  # gives way to the scale
        assert ("low" in line) == (columns >= 46)
        assert (PATTERN_WORDS[name] in line) == (columns >= 100 and "NO_COLOR" in environ)


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
            terminal.show(Look("happy", confidence, 1.0, (1, 1, 0), activation=0.75))
        terminal.show(Look(UNCERTAIN, 0.0, 1.0, (1, 1, 1), activation=0.08))
        terminal.show(Look(LISTENING, 0.0, 1.0, (1, 1, 1)))
        terminal.close()
        assert stream.getvalue() == (
            "listening\nhappy      60%   activation  75%\nuncertain    activation   8%\nlistening\n"
        )


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


@pytest.mark.parametrize(
    ("rgb", "number"), [((0, 0, 0), 0), ((0.1, 0, 0), 1), ((1, 1, 1), 15), ((1, 0, 0), 9), ((1, 0.8, 0.0), 11)]
)
def test_the_nearest_of_16_colours(rgb, number):
    assert nearest_of_16(rgb) == number


def test_16_colours_tell_most_emotions_and_the_ends_of_the_scale_apart():
    assert len({nearest_of_16(parse_colour(text)) for text in COLOURS.values()}) == 6
    assert len({nearest_of_16(activation_colour(activation)) for activation in (0.0, 0.5, 1.0)}) == 3
