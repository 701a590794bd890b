"""The whole loop on real parts: recordings as microphone, a light that records, a real log, a real notify socket."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import audio_files
import numpy as np
import pytest
import soundfile
import soxr

from edge.bundle import default_bundle_path, load_bundle
from edge.config import demo_path
from edge.daemon import READ_S, RETRY_S, STALLED_S, Daemon
from edge.errors import AudioError, LightError, SourceError
from edge.history import Event, History, read_events
from edge.leds import LISTENING, OFF, Lights, Look, RecordingLight
from edge.pipeline import Pipeline
from edge.sources import Block, FileSource

START = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)


class SoundClock:
    """Time as the sound tells it: it goes on with each block, and with each question while there is no sound."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.speed_s = 1e-6

    def monotonic(self) -> float:
        self.now_s += self.speed_s
        return self.now_s

    def now(self) -> datetime:
        return START + timedelta(seconds=self.now_s - 1000)


class Played(FileSource):
    """A recording as microphone: moves the clock, and fails or loses samples at the blocks where it is told to."""

    def __init__(
        self, path: Path, clock: SoundClock, *, lose: dict[int, int] | None = None, fail: dict[int, int] | None = None
    ) -> None:
        """`lose` says how many samples are missing before a block, `fail` how often reading it fails."""
        super().__init__(path, block_ms=20)
        self.at_block: dict[int, Callable[[], object]] = {}
        self.n_read = 0
        self._time = clock
        self._lose = lose or {}
        self._fail = fail or {}

    def read(self, timeout_s: float = 0.0) -> Block | None:
        if self._fail.get(self.n_read, 0):
            self._fail[self.n_read] -= 1
            self._time.now_s += timeout_s
            raise SourceError("the microphone 'desk' has delivered nothing; check that it is still plugged in")
        self.at_block.get(self.n_read, lambda: None)()
        block = super().read(timeout_s)
        if block is not None:
            self._time.now_s += len(block.samples) / 16_000
            block = Block(block.samples, self._lose.get(self.n_read, 0))
        self.n_read += 1
        return block


@dataclass
class Room:
    """A daemon and everything around it."""

    folder: Path
    clock: SoundClock = field(default_factory=SoundClock)
    light: RecordingLight = field(default_factory=RecordingLight)
    stop: threading.Event = field(default_factory=threading.Event)
    stop_after_silence_s: float = 0.0

    @property
    def log(self) -> Path:
        return self.folder / "log" / "history.db"

    def daemon(self, *sources: Callable[[], Played]) -> Daemon:
        """A daemon whose attempts to open the microphone go as `sources` do, one after the other."""
        attempts = iter(sources)
        bundle = load_bundle(default_bundle_path())
        return Daemon(
            open_source=lambda: next(attempts)(),
            pipeline=Pipeline(bundle),
            lights=Lights(self.light),
            history=History(self.log, max_mb=1, max_days=365, clock=self.clock.monotonic),
            clock=self.clock,
            stop=self.stop,
            node="kitchen",
            model=bundle.id,
            stop_after_silence_s=self.stop_after_silence_s,
        )

    def demo(self, **faults: dict[int, int]) -> Callable[[], Played]:
        return lambda: Played(demo_path(), self.clock, **faults)

    def demo_with(self, at_block: dict[int, Callable[[], object]]) -> Callable[[], Played]:
        """The demo recording; something happens just before some of its blocks."""

        def open_source() -> Played:
            source = Played(demo_path(), self.clock)
            source.at_block = at_block
            return source

        return open_source

    def events(self) -> list[Event]:
        return list(read_events(self.log))


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Room:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    caplog.set_level(logging.INFO, "edge")
    return Room(tmp_path)


@pytest.fixture
def undisturbed(room: Room, tmp_path: Path) -> list[Event]:
    """What the demo recording gives when nothing goes wrong."""
    quiet = Room(tmp_path / "undisturbed")
    quiet.daemon(quiet.demo()).run()
    return quiet.events()


def same(events: list[Event], others: list[Event]) -> bool:
    def heard(event: Event) -> tuple[object, ...]:
        return (event.start_s, event.end_s, event.label, event.probs, event.uncertain)

    return [heard(event) for event in events] == [heard(event) for event in others]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_is_heard_is_logged_and_shown(room, caplog):
    totals = room.daemon(room.demo()).run()
    events = room.events()
    assert len(events) == totals.n_detections > 0
    for event in events:
        assert (event.node, event.model) == ("kitchen", load_bundle(default_bundle_path()).id)
        assert 0 <= event.start_s < event.end_s <= soundfile.info(demo_path()).duration
    assert room.light.is_closed
    assert room.light.names[0] == LISTENING
    assert room.light.names[-1] == OFF
    # the last one may be closed by the end of the recording, and then the light is off
    assert {event.label for event in events[:-1] if not event.uncertain} <= set(room.light.names)
    assert complaints(caplog) == []


def test_the_time_of_an_event_is_that_of_the_clock_and_the_latency_that_of_the_gate(room):
    room.daemon(room.demo()).run()
    gate = load_bundle(default_bundle_path()).manifest.gate
    for event in room.events()[:-1]:  # the last one may be closed by the end of the recording
        moment = datetime.fromisoformat(event.ts.replace("Z", "+00:00"))
        assert (moment - START).total_seconds() == pytest.approx(event.mono_s - 1000, abs=0.01)
        # sound takes no time to get through here: what is left is the wait of the gate, and the rest of a block
        assert event.mono_s - 1000 == pytest.approx(event.end_s + event.latency_ms / 1000, abs=0.03)
        assert event.latency_ms >= gate.hangover_ms - 30 or event.end_s - event.start_s > gate.max_segment_s - 1


def test_lost_samples_end_the_segment_and_are_counted_and_reported_once(room, undisturbed, caplog):
    first = undisturbed[0]
    middle = round((first.start_s + first.end_s) / 2 / 0.02)
    totals = room.daemon(room.demo(lose={middle: 16_000, middle + 200: 8_000})).run()
    events = room.events()
    assert (totals.n_gaps, totals.n_lost) == (2, 24_000)
    gap_s = middle * 0.02
    assert not any(event.start_s < gap_s and event.end_s > gap_s + 0.05 for event in events)
    # what comes after the gaps is where it was, moved by what was lost
    assert events[-1].end_s == pytest.approx(undisturbed[-1].end_s + 1.5, abs=0.05)
    assert len([line for line in complaints(caplog) if "of sound were lost" in line]) == 1


def gone() -> Played:
    raise SourceError("no microphone was found; plug one in")


FOREVER = 1_000_000


def test_a_microphone_that_fails_is_opened_again_and_nothing_heard_is_lost(room, undisturbed, caplog):
    first = undisturbed[0]
    late = round(first.end_s / 0.02) - 2  # still speaking
    room.clock.speed_s = 0.05
    room.daemon(room.demo(fail={late: FOREVER}), gone, gone, room.demo()).run()
    before, *after = room.events()
    assert before.start_s == first.start_s
    assert before.end_s <= late * 0.02
    # the new microphone begins anew, and its time goes on where that of the old one ended
    assert [(event.label, event.probs) for event in after] == [(event.label, event.probs) for event in undisturbed]
    moved_s = [new.start_s - old.start_s for new, old in zip(after, undisturbed, strict=True)]
    assert moved_s == pytest.approx([late * 0.02] * len(after), abs=1e-6)
    assert len(complaints(caplog)) == 1
    assert "the microphone works again" in said(caplog)
    assert OFF in room.light.names[:-1]  # it did not pretend to listen


def test_the_waits_between_attempts_grow(room):
    opened_s: list[float] = []

    def fail() -> Played:
        opened_s.append(room.clock.now_s)
        if len(opened_s) == 8:
            room.stop.set()
        return gone()

    room.clock.speed_s = 0.5
    room.daemon(*[fail] * 8).run()
    for wait_s, expected_s in zip(np.diff(opened_s), [*RETRY_S, RETRY_S[-1], RETRY_S[-1]], strict=True):
        assert expected_s <= wait_s <= expected_s + 5


def test_a_moment_without_sound_is_no_reason_to_open_the_microphone_again(room, undisturbed):
    n_fails = int(STALLED_S / READ_S) - 2
    room.daemon(room.demo(fail={100: n_fails})).run()  # there is no second one to be opened
    assert same(room.events(), undisturbed)


def test_a_recording_that_cannot_be_read_on_ends_the_loop_with_what_was_heard(room, tmp_path, undisturbed):
    samples, rate_hz = soundfile.read(demo_path(), dtype="float32")
    samples[round((undisturbed[0].end_s + 2) * rate_hz)] = np.nan
    soundfile.write(tmp_path / "bad.wav", samples, rate_hz, subtype="FLOAT")
    with pytest.raises(AudioError, match="is not a number"):
        room.daemon(lambda: Played(tmp_path / "bad.wav", room.clock)).run()
    assert room.light.is_closed
    assert same(room.events()[:1], undisturbed[:1]) or room.events() == []


class Moody(RecordingLight):
    """A light that cannot be driven for a while."""

    broken = False

    def show(self, look: Look) -> None:
        if self.broken:
            raise LightError("GPIO 17 cannot be driven: gone")
        super().show(look)


def test_a_light_that_fails_is_reported_once_and_everything_else_goes_on(room, undisturbed, caplog):
    room.light = Moody()
    moods = {10: True, 200: False}
    at_block = {block: partial(setattr, room.light, "broken", mood) for block, mood in moods.items()}
    room.daemon(room.demo_with(at_block)).run()
    assert complaints(caplog) == ["GPIO 17 cannot be driven: gone (everything else goes on)"]
    assert "the light works again" in said(caplog)
    assert same(room.events(), undisturbed)


def test_a_log_that_fails_is_reported_once_and_keeps_everything_until_it_works(room, undisturbed, caplog):
    room.folder.joinpath("log").write_text("a file where the folder should be")
    n_blocks = int(soundfile.info(demo_path()).duration / 0.02)
    room.daemon(room.demo_with({n_blocks * 3 // 4: room.folder.joinpath("log").unlink})).run()
    assert len(complaints(caplog)) == 1
    assert complaints(caplog)[0].startswith(f"{room.log}: the log cannot be written: ")
    assert said(caplog).count("the log works again") == 1
    assert same(room.events(), undisturbed)


def test_a_request_to_stop_ends_the_loop_with_the_open_segment_kept(room, undisturbed):
    first = undisturbed[0]
    room.daemon(room.demo_with({round(first.end_s / 0.02) - 2: room.stop.set})).run()
    (event,) = room.events()
    assert event.start_s == first.start_s
    assert room.light.names[-1] == OFF


def test_it_stops_by_itself_after_enough_silence(room, undisturbed, tmp_path):
    speech, rate_hz = soundfile.read(demo_path(), dtype="float32")
    hush = 1e-4 * np.random.default_rng(0).standard_normal(20 * rate_hz).astype(np.float32)
    soundfile.write(tmp_path / "hush.wav", np.concatenate([speech, hush]), rate_hz)
    room.stop_after_silence_s = 5.0
    totals = room.daemon(lambda: Played(tmp_path / "hush.wav", room.clock)).run()
    stopped_s = totals.n_blocks * 0.02
    assert len(room.events()) == len(undisturbed)
    assert stopped_s == pytest.approx(room.events()[-1].end_s + 5, abs=1)


def test_the_service_manager_hears_ready_after_the_first_block_and_of_life_after_that(room, tmp_path, monkeypatch):
    heard: list[tuple[int, str]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def receive(n_read: int) -> None:
            while True:
                try:
                    heard.append((n_read, manager.recv(4096).decode()))
                except BlockingIOError:
                    return

        room.daemon(room.demo_with({block: partial(receive, block) for block in range(2000)})).run()
        receive(2000)
    messages = [message for _, message in heard]
    assert messages.count("READY=1") == 1
    assert (1, "READY=1") in heard
    alive = [block for block, message in heard if message == "WATCHDOG=1"]
    assert alive[0] == 1
    assert len(alive) == pytest.approx(soundfile.info(demo_path()).duration, abs=3)
    assert messages[-1] == "STOPPING=1"


def started(home: Path, *argv: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge", "run", "--source", str(demo_path()), *argv]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_real_program_cleanly(home, number):
    process = started(home)
    assert process.stdout.readline().startswith(LISTENING)
    process.send_signal(number)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "stretches of speech" in err.splitlines()[-1]


def test_the_real_program_plays_a_recording_to_its_end(home):
    process = started(home, "--fast")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.splitlines()[0].startswith(LISTENING)
    listed = subprocess.run([sys.executable, "-m", "edge", "history", "--json"], capture_output=True, text=True)
    events = [json.loads(line) for line in listed.stdout.splitlines()]
    assert events
    assert f"{len(events)} stretches of speech" in err


def test_the_real_program_hears_a_microphone(home):
    """Through PortAudio and ALSA. This microphone knows no pace: what comes after the 5 s that fit is lost and told."""
    pytest.importorskip("sounddevice", exc_type=OSError, reason="needs PortAudio")
    samples, rate_hz = soundfile.read(demo_path(), frames=round(4.9 * 16_000), dtype="float32")
    heard = np.repeat(soxr.resample(samples, rate_hz, 44_100)[:, np.newaxis], 2, axis=1)
    (home / "mine.toml").write_text("[audio]\ndevice = 'desk'")
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", "run", "--config", str(home / "mine.toml")],
        env=os.environ | audio_files.write_microphone(home, heard),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "listening to desk microphone" in process.stderr.readline()
        assert "of sound were lost" in process.stderr.readline()  # which ends the first stretch of speech
        process.send_signal(signal.SIGTERM)
        err = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 0, err
    new = next(read_events(home / "state" / "history.db"))
    alone = Room(home / "alone")
    soundfile.write(home / "excerpt.wav", samples, rate_hz)
    alone.daemon(lambda: Played(home / "excerpt.wav", alone.clock)).run()
    old = alone.events()[0]
    assert (new.start_s, new.end_s) == pytest.approx((old.start_s, old.end_s), abs=0.05)
    assert new.label == old.label
