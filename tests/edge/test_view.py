"""The live view: what it shows, within any terminal, and that it leaves the terminal as it was found.

A real pseudoterminal, and the screen that `pyte`, a terminal of its own, makes of what is written there.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pyte
import pytest
from observed import event, health, score

from edge import config
from edge.errors import LightError
from edge.leds.ink import Ink
from edge.observers import Phase
from edge.view import QUIETEST_DB, Scene, View, _clock_text, picture

WAIT_S = 60.0  # for what takes a moment; much more than that moment


class Tty:
    """A pseudoterminal whose other end is read by a thread, as a terminal's own is."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self._master, self.slave = pty.openpty()
        self.resize_kernel(columns, rows)
        self.screen = pyte.Screen(columns, rows)
        self.raw = b""
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self.reads = threading.Event()
        self.reads.set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def resize_kernel(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns: int, rows: int) -> None:
        with self._lock:
            self.screen.resize(rows, columns)
        self.resize_kernel(columns, rows)

    def type(self, text: bytes) -> None:
        os.write(self._master, text)

    @property
    def lines(self) -> list[str]:
        with self._lock:
            return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        end_s = time.monotonic() + WAIT_S
        while not is_so():
            assert time.monotonic() < end_s, self.text
            time.sleep(0.02)

    def close(self) -> None:
        self._stop.set()
        self.reads.set()
        self._thread.join()
        os.close(self._master)
        os.close(self.slave)

    def _read(self) -> None:
        while not self._stop.is_set():
            self.reads.wait()
            if select.select([self._master], [], [], 0.05)[0]:
                data = os.read(self._master, 65_536)
                with self._lock:
                    self.raw += data
                    self._stream.feed(data)


@pytest.fixture
def tty() -> Iterator[Tty]:
    made = Tty()
    yield made
    made.close()


@contextmanager
def view_on(tty: Tty, **environ: str) -> Iterator[View]:
    with os.fdopen(os.dup(tty.slave), "w", encoding="utf-8") as stream:
        view = View(stream, environ={"TERM": "xterm", "COLORTERM": "truecolor"} | environ)
        try:
            yield view
        finally:
            view.close()


# --- the picture


class Screen:
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def drawn(scene: Scene, columns: int = 80, rows: int = 24, *, encoding: str = "utf-8", **environ: str) -> list[str]:
    """The picture as a terminal shows it."""
    stream = Screen()
    stream.encoding = encoding
    terminal = pyte.Screen(columns, rows)
    lines = picture(scene, Ink(stream, environ), columns, rows)  # type: ignore[arg-type]
    assert len(lines) == rows
    pyte.Stream(terminal).feed("\r\n".join(lines))
    assert terminal.cursor.y == rows - 1  # nothing has wrapped
    assert all(line[-1] == " " for line in terminal.display)
    return [line.rstrip() for line in terminal.display]


SPEECH = Scene(
    health=health(),
    level_db=-20.0,
    is_speaking=True,
    tone=score(),
    events=tuple(event(number, uncertain=number == 1) for number in range(3)),
    messages=("12:00:00  listening to USB microphone",),
)


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_speech_in_a_usual_terminal(utc):
    assert drawn(SPEECH, NO_COLOR="1") == [
        "  tonelight  kitchen                                                  listening",
        "",
        "  ████████   happy      60%",
        f"  ████████   activation {'─' * 34}●{'─' * 9}  high  80%",
        f"  ████████   level      {'━' * 33}{'─' * 11}     -20 dB",
        "",
        *(
            f"  {name:<10} {'━' * n}{'─' * (60 - n)}{share:>6}"
            for name, n, share in (
                *((name, 3, "5%") for name in ("neutral", "calm")),
                ("happy", 39, "65%"),
                *((name, 3, "5%") for name in ("sad", "angry", "fearful", "disgusted", "surprised")),
            )
        ),
        "",
        "  last heard",
        "  12:00:00 ● happy       65%    0.8 s  activation high  90%",
        "  12:00:00 ● uncertain          0.8 s  activation high  90%",
        "  12:00:00 ● happy       65%    0.8 s  activation high  90%",
        "",
        "",
        "",
        "  12:00:00 listening to USB microphone",
        "  USB microphone · tonelight-0.1.0 · 3 heard · 0.1 s lost · up 0:12",
    ]


@pytest.mark.parametrize("columns", [2, 9, 17, 30, 41, 80, 200])
@pytest.mark.parametrize("phase", list(Phase))
def test_it_fits_any_terminal(columns, phase):
    reason = "the microphone 'USB' is gone: " + "is it plugged in? " * 20
    scene = replace(SPEECH, health=health(phase, reason=reason, microphone="a microphone " * 10))
    for rows in (1, 2, 4, 7, 13, 19, 20, 24, 60):
        drawn(scene, columns, rows, NO_COLOR="1")
        drawn(scene, columns, rows, COLORTERM="truecolor")


def test_what_matters_most_stays_the_longest():
    assert "happy" in drawn(SPEECH, 20, 1)[0]
    assert sum("surprised" in line for line in drawn(SPEECH, 80, 13)) == 1
    assert not any("surprised" in line for line in drawn(SPEECH, 80, 8))


def test_colour_adds_nothing_but_colour():
    plain = [line.replace("█", " ").rstrip() for line in drawn(SPEECH, NO_COLOR="1")]
    assert drawn(SPEECH, COLORTERM="truecolor") == plain


def test_a_terminal_without_unicode():
    text = "\n".join(drawn(SPEECH, encoding="ascii", NO_COLOR="1"))
    assert text.isascii() and "########   happy" in text


def test_without_a_sure_emotion_there_is_the_activation():
    lines = drawn(replace(SPEECH, tone=score(None, 0.3)), NO_COLOR="1")
    assert lines[2].split() == ["████████", "uncertain"] and lines[3].endswith("high  80%")


def test_silence():
    lines = drawn(replace(SPEECH, tone=None, is_speaking=False, level_db=QUIETEST_DB), NO_COLOR="1")
    assert lines[2].split() == ["········", "quiet"]
    assert not any("%" in line for line in lines[:14]) and "dB" not in lines[4]


@pytest.mark.parametrize("columns", [18, 40, 80])
def test_that_clips_are_kept_is_said_at_the_top(columns):
    assert drawn(replace(SPEECH, health=health(capturing_s=60.0)), columns)[0].startswith("  clips are kept")
    assert not any("clips are kept" in line for line in drawn(SPEECH, columns))


def test_muted_and_fault_say_so_and_show_no_old_tone():
    muted = drawn(replace(SPEECH, health=health(Phase.MUTED)), NO_COLOR="1")
    assert muted[0].endswith("muted") and "nothing is captured until `tonelight unmute`" in muted[3]
    fault = drawn(replace(SPEECH, health=health(Phase.FAULT, reason="the microphone is gone", microphone="")))
    assert fault[0].endswith("fault") and "the microphone is gone" in fault[3] and "no microphone" in fault[-1]
    for lines in (muted, fault):
        assert "happy" not in lines[2] and not any("%" in line for line in lines[:14])


@pytest.mark.parametrize(("s", "text"), [(0, "0:00"), (3599.9, "59:59"), (3723, "1:02:03"), (262_923, "3 d 1:02:03")])
def test_times(s, text):
    assert _clock_text(s) == text


# --- in a terminal


def test_it_is_drawn_and_leaves_no_trace(tty):
    before = termios.tcgetattr(tty.slave)
    with view_on(tty) as view:
        view.tell("12:00:00  the page is at http://127.0.0.1:8730")
        view.on_health(health())
        view.on_score(score())
        view.on_event(event())
        tty.wait_for(lambda: "last heard" in tty.text and "●  happy" not in tty.text and "65%" in tty.text)
        assert "the page is at http://127.0.0.1:8730" in tty.text
        assert tty.screen.cursor.hidden
        assert tty.screen.buffer[2][3].bg == "f0e442"
        tty.type(b"rm -rf /\n\x1a")
        view.on_level(-20.0, True)
        tty.wait_for(lambda: "-20 dB" in tty.text)
        assert "rm -rf" not in tty.text
    assert termios.tcgetattr(tty.slave) == before
    tty.wait_for(lambda: tty.raw.endswith(b"\x1b[0m\x1b[?25h\x1b[?1049l"))
    assert select.select([tty.slave], [], [], 0)[0] == []  # what was typed is not left for the shell


def test_a_level_is_drawn_once_and_what_stays_the_same_is_not_drawn_again(tty):
    with view_on(tty) as view:
        view.on_health(health())
        tty.wait_for(lambda: "USB microphone" in tty.text)
        n_before = len(tty.raw)
        for _ in range(50):
            view.on_health(health())
        view.on_level(-20.0, True)
        tty.wait_for(lambda: b"-20 dB" in tty.raw[n_before:])
        assert b"kitchen" not in tty.raw[n_before:] and b"surprised" not in tty.raw[n_before:]


def test_a_new_size_is_taken_up(tty):
    with view_on(tty) as view:
        view.on_health(health())
        tty.wait_for(lambda: tty.lines[0].endswith("listening"))
        tty.resize(50, 30)
        tty.wait_for(lambda: tty.lines[0].endswith("listening") and len(tty.lines[0]) == 49)
        tty.wait_for(lambda: "USB microphone" in tty.lines[-1] and not any(tty.lines[-9:-1]))


def test_what_was_heard_fades_as_on_the_light(tty):
    with view_on(tty) as view:
        now_s = [0.0]
        view._clock = lambda: now_s[0]
        view.on_health(health())
        view.on_score(score())
        tty.wait_for(lambda: "60%" in tty.lines[2])
        now_s[0] = 5.0
        tty.wait_for(lambda: "quiet" in tty.lines[2])


def test_a_terminal_that_does_not_take_anything_holds_up_nobody(tty):
    with view_on(tty) as view:
        view.on_health(health())
        tty.wait_for(lambda: "kitchen" in tty.text)
        tty.reads.clear()
        beside = os.open(os.ttyname(tty.slave), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with pytest.raises(BlockingIOError):  # not a byte more can be written
            while True:
                os.write(beside, b"\x1b[0m")
        os.close(beside)
        for number in range(20_000):
            view.on_level(-20.0 - number % 50, True)
            view.on_score(score(confidence=number % 100 / 100))
            view.on_health(health())
        tty.reads.set()
        view.on_score(score(confidence=0.99))
        tty.wait_for(lambda: "99%" in tty.lines[2])


def test_a_terminal_that_has_gone_is_no_trouble():
    master, slave = pty.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        view = View(stream, environ={"TERM": "xterm"})
        view.on_health(health())
        os.close(master)
        view.on_score(score())
        view.close()
        view.close()


def test_where_there_is_no_terminal(tmp_path):
    with (tmp_path / "out").open("w") as stream, pytest.raises(LightError, match="the output goes to none; leave out"):
        View(stream)


# --- the command


def started(tty: Tty, *argv: str, environ: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
    env = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **(environ or {})}
    env.pop("NO_COLOR", None)
    end = tty.slave
    command = [sys.executable, "-m", "edge", "run", "--view", *argv]
    return subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=env, start_new_session=True)


def test_run_shows_a_recording_and_ends_with_ctrl_c(home, tty):
    before = termios.tcgetattr(tty.slave)
    running = started(tty, "--source", str(config.demo_path()))
    try:
        tty.wait_for(lambda: any("activation" in line for line in tty.lines[15:]))
        assert tty.lines[0].endswith("listening") and "demo.flac" in tty.lines[-1]
        running.send_signal(signal.SIGINT)
        assert running.wait(WAIT_S) == 0
    finally:
        running.kill()
        running.wait()
    tty.wait_for(lambda: b"?1049l" in tty.raw and tty.raw.rstrip().endswith(b"of speech"))
    assert termios.tcgetattr(tty.slave) == before
    after = tty.raw.partition(b"?1049l")[2].decode()
    assert "listening to " in after and "heard " in after  # the log, for whoever reads on


def test_an_error_before_anything_is_heard_leaves_the_terminal_alone(home, tty):
    running = started(tty, "--source", str(home / "gone.wav"))
    assert running.wait(WAIT_S) == 1
    tty.wait_for(lambda: "there is no such file" in tty.text)
    assert b"?1049" not in tty.raw


def test_an_exception_in_the_loop_still_restores_the_terminal(home, tty):
    """What ends the loop by force: here, a pipeline that cannot go on after its check."""
    before = termios.tcgetattr(tty.slave)
    code = f"""
import sys
from edge.cli import main
from edge.commands import run
from edge.pipeline import Pipeline
opened = run.open_pipeline
def open_and_break(bundle):
    pipeline = opened(bundle)
    Pipeline.push = lambda self, samples: 1 / 0
    return pipeline
run.open_pipeline = open_and_break
main(["run", "--view", "--source", {str(config.demo_path())!r}])
"""
    end, env = tty.slave, {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", code], stdin=end, stdout=end, stderr=end, env=env, timeout=WAIT_S)
    assert done.returncode == 1
    tty.wait_for(lambda: b"ZeroDivisionError" in tty.raw.partition(b"?1049l")[2])
    assert termios.tcgetattr(tty.slave) == before


def test_view_needs_a_terminal(home):
    done = subprocess.run([sys.executable, "-m", "edge", "run", "--view"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("tonelight: --view draws in a terminal, and the output goes to none; leave out --view\n")
