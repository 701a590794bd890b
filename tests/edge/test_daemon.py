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
from itertools import groupby
from pathlib import Path

import audio_files
import numpy as np
import pytest
import soundfile
import soxr

from edge.bundle import default_bundle_path, load_bundle
from edge.config import demo_path
from edge.daemon import READ_S, RETRY_S, STALLED_S, STUCK_S, Daemon, Successors
from edge.errors import AudioError, LightError, SourceError
from edge.events import Score
from edge.history import Event, History, read_events
from edge.leds import FAULT, LISTENING, MUTED, OFF, STARTING, Lights, Look, RecordingLight
from edge.mute import Mute
from edge.observers import Health, Observer, Phase
from edge.pipeline import Pipeline
from edge.sources import Block, FileSource
from edge.sources.blocks import Stillness

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


class Live(Played):
    """As a microphone, it says for how long it has given one and the same value."""

    def __init__(self, path: Path, clock: SoundClock) -> None:
        super().__init__(path, clock)
        self._stillness = Stillness(16_000)

    @property
    def stuck_s(self) -> float:
        return self._stillness.seconds

    def read(self, timeout_s: float = 0.0) -> Block | None:
        block = super().read(timeout_s)
        if block is not None:
            self._stillness.push(block.samples[:, np.newaxis])
        return block


@dataclass
class Watcher:
    """An observer that keeps all it was told, and may do something when it hears how the daemon is."""

    act: Callable[[Health], object] = lambda health: None
    levels: list[tuple[float, bool]] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    healths: list[Health] = field(default_factory=list)
    n_closed: int = 0

    @property
    def phases(self) -> list[Phase]:
        """One for each change."""
        phases = [health.phase for health in self.healths]
        return [phase for i, phase in enumerate(phases) if i == 0 or phases[i - 1] != phase]

    def on_level(self, level_db: float, speaking: bool) -> None:
        self.levels.append((level_db, speaking))

    def on_score(self, score: Score) -> None:
        self.scores.append(score)

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_health(self, health: Health) -> None:
        self.healths.append(health)
        self.act(health)

    def close(self) -> None:
        self.n_closed += 1


@dataclass
class Room:
    """A daemon and everything around it."""

    folder: Path
    clock: SoundClock = field(default_factory=SoundClock)
    light: RecordingLight = field(default_factory=RecordingLight)
    stop: threading.Event = field(default_factory=threading.Event)
    stop_after_silence_s: float = 0.0
    observers: list[Observer] = field(default_factory=list)
    successors: list[Successors] = field(default_factory=list)

    @property
    def mute(self) -> Mute:
        return Mute(self.folder / "mute")

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
            observers=self.observers,
            mute=self.mute,
            reload=lambda: self.successors.pop() if self.successors else None,
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
    assert room.light.names[0] in (STARTING, LISTENING)  # the first block may be there before the first tick
    assert LISTENING in room.light.names
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
    assert complaints(caplog) == [
        "the microphone 'desk' has delivered nothing; check that it is still plugged in (it is tried again until it "
        "works)",
        "no microphone was found; plug one in (it is tried again until it works)",  # once, though tried twice
    ]
    assert "the microphone works again" in said(caplog)
    assert FAULT in room.light.names[:-1]  # it did not pretend to listen


def test_a_fault_is_said_before_the_source_is_closed(room):
    """To close what has gone may take long, or for ever."""
    watcher = Watcher()
    room.observers.append(watcher)

    class Clinging(Played):
        def close(self) -> None:
            if self.n_read:  # FileSource closes itself at its end, too
                assert watcher.phases[-1] is Phase.FAULT
                assert room.light.names[-1] == FAULT
            super().close()

    room.clock.speed_s = 0.05
    source = Clinging(demo_path(), room.clock, fail={10: FOREVER})
    room.daemon(lambda: source, room.demo()).run()
    assert watcher.phases == [Phase.STARTING, Phase.LISTENING, Phase.FAULT, Phase.LISTENING]
    assert source._handle.closed


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
    watcher = Watcher()
    room.observers = [watcher]
    room.daemon(room.demo_with(at_block)).run()
    faults = [health.light_fault for health in watcher.healths]
    assert [fault for fault, _ in groupby(faults)] == ["", "GPIO 17 cannot be driven: gone", ""]
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
    room.stop_after_silence_s = 9.0  # longer than a phrase and its pauses: one that is taken for no speech is silence
    totals = room.daemon(lambda: Played(tmp_path / "hush.wav", room.clock)).run()
    stopped_s = totals.n_blocks * 0.02
    assert len(room.events()) == len(undisturbed)
    assert stopped_s == pytest.approx(room.events()[-1].end_s + 9, abs=1)


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


# Who watches ----------------------------------------------------------------------------------------------------------


def test_observers_are_told_everything_at_once(room):
    watchers = [Watcher(), Watcher()]
    room.observers += watchers
    totals = room.daemon(room.demo()).run()
    assert watchers[0] == watchers[1]
    told = watchers[0]
    assert len(told.levels) == totals.n_blocks
    assert told.events == room.events()
    assert {speaking for _, speaking in told.levels} == {False, True}
    assert max(level for level, _ in told.levels) < 0
    assert len(told.scores) > len(told.events)
    assert told.n_closed == 1
    assert told.phases == [Phase.STARTING, Phase.LISTENING]
    # one at each change, and then one for each second of sound
    assert len(told.healths) == pytest.approx(2 + totals.n_blocks * 0.02, abs=2)
    first, last = told.healths[1], told.healths[-1]
    assert (first.node, first.reason, first.microphone) == ("kitchen", "", str(demo_path()))
    assert last.uptime_s == pytest.approx(totals.n_blocks * 0.02, abs=1.5)
    assert 0 <= totals.n_blocks - last.n_blocks <= 51
    assert last.model == load_bundle(default_bundle_path()).id


class Rude(Watcher):
    """Has a bug in everything it does."""

    def on_score(self, score: Score) -> None:
        raise RuntimeError("no")

    def close(self) -> None:
        super().close()
        raise RuntimeError("nor this")


def test_an_observer_that_raises_is_reported_once_and_dropped(room, undisturbed, caplog):
    rude, fine = Rude(), Watcher()
    room.observers += [rude, fine]
    room.daemon(room.demo()).run()
    assert [line for line in complaints(caplog) if "Rude" in line] == [
        "Rude failed and is told nothing more; everything else goes on",
        "Rude could not be closed",
    ]
    assert rude.n_closed == fine.n_closed == 1
    assert len(rude.levels) < len(fine.levels)
    assert same(fine.events, undisturbed)
    assert same(room.events(), undisturbed)


def test_what_takes_over_goes_on_with_the_same_source(room, undisturbed):
    """At a moment of silence: what follows carries the new name and is shown by the new light."""
    first = undisturbed[0]
    bundle, light = load_bundle(default_bundle_path()), RecordingLight()
    new = Successors(Pipeline(bundle), "tonelight-9.9.9", Lights(light), 0.0)
    watcher = Watcher()
    room.observers.append(watcher)
    room.daemon(room.demo_with({round((first.end_s + 0.55) / 0.02): lambda: room.successors.append(new)})).run()
    before, *after = room.events()
    assert before.model == bundle.id
    assert before.label == first.label
    assert after
    assert {event.model for event in after} == {"tonelight-9.9.9"}
    assert after[-1].end_s == pytest.approx(undisturbed[-1].end_s, abs=0.1)
    assert light.names[-1] == OFF
    assert len(light.names) > 2
    assert watcher.phases == [Phase.STARTING, Phase.LISTENING]
    assert watcher.healths[-1].model == "tonelight-9.9.9"


def test_another_light_and_another_end_do_not_cut_short_what_is_being_said(room, undisturbed):
    first = undisturbed[0]
    light = RecordingLight()
    new = Successors(None, "tonelight-9.9.9", Lights(light), 1.0)
    middle = round((first.start_s + first.end_s) / 2 / 0.02)
    totals = room.daemon(room.demo_with({middle: lambda: room.successors.append(new)})).run()
    begun, *_ = events = room.events()
    assert (begun.start_s, begun.end_s, begun.label) == (first.start_s, first.end_s, first.label)
    assert begun.model == "tonelight-9.9.9"
    assert first.label in " ".join(map(str, light.names))
    assert len(events) < len(undisturbed)  # the demo recording has longer pauses than a second
    assert totals.n_blocks < 50 * undisturbed[-1].end_s


def test_the_trouble_of_another_light_is_its_own(room, caplog):
    room.light = Moody()
    room.light.broken = True
    other = Moody()
    other.broken = True
    new = Successors(None, "tonelight-9.9.9", Lights(other), 0.0)
    last = Successors(None, "tonelight-9.9.9", Lights(RecordingLight()), 0.0)
    handed = {20: partial(room.successors.append, new), 40: partial(room.successors.append, last)}
    room.daemon(room.demo_with(handed)).run()
    assert complaints(caplog) == ["GPIO 17 cannot be driven: gone (everything else goes on)"] * 2
    assert "works again" not in said(caplog)


# Muted ----------------------------------------------------------------------------------------------------------------


def test_mute_closes_the_source_and_keeps_what_was_heard_until_then(room, undisturbed, caplog):
    first = undisturbed[0]
    middle = round((first.start_s + first.end_s) / 2 / 0.02)
    opened: list[Played] = []

    def open_source() -> Played:
        opened.append(Played(demo_path(), room.clock))
        if len(opened) == 1:
            opened[0].at_block[middle] = lambda: room.mute.set(True)
        return opened[-1]

    was_closed: list[bool] = []

    def unmute(health: Health) -> None:
        if health.phase is Phase.MUTED:
            was_closed.append(opened[-1]._handle.closed)
            room.mute.set(len(was_closed) < 4)

    watcher = Watcher(unmute)
    room.observers.append(watcher)
    room.clock.speed_s = 0.05
    room.daemon(open_source, open_source).run()
    assert was_closed == [True] * 4  # at once, and once a second while it was muted
    assert len(opened) == 2
    assert opened[0].n_read <= middle + 1
    assert watcher.phases == [Phase.STARTING, Phase.LISTENING, Phase.MUTED, Phase.STARTING, Phase.LISTENING]
    assert {health.microphone for health in watcher.healths if health.phase is Phase.MUTED} == {""}
    before, *after = room.events()
    assert before.start_s == first.start_s
    assert before.end_s <= (middle + 1) * 0.02
    # what comes after starts afresh, as if nothing had been heard before
    assert [(event.label, event.probs) for event in after] == [(event.label, event.probs) for event in undisturbed]
    assert complaints(caplog) == []
    names = room.light.names
    assert names[names.index(MUTED) + 1] in (STARTING, LISTENING)


def test_a_board_that_was_muted_wakes_up_muted_and_can_be_stopped(room):
    room.mute.set(True)
    watcher = Watcher(lambda health: room.stop.set() if health.uptime_s > 2 else None)
    room.observers.append(watcher)
    room.clock.speed_s = 0.05
    room.daemon().run()  # there is no source to be opened
    assert watcher.phases == [Phase.STARTING, Phase.MUTED]
    assert MUTED in room.light.names
    assert room.light.names[-1] == OFF


def test_mute_is_heard_while_the_microphone_is_away(room):
    watcher = Watcher()

    def act(health: Health) -> None:
        if health.phase is Phase.FAULT:
            room.mute.set(True)
        elif health.phase is Phase.MUTED:
            room.mute.set(False)

    watcher.act = act
    room.observers.append(watcher)
    room.clock.speed_s = 0.01
    room.daemon(gone, room.demo()).run()
    assert watcher.phases == [Phase.STARTING, Phase.FAULT, Phase.MUTED, Phase.STARTING, Phase.LISTENING]


# A microphone that gives no sound -------------------------------------------------------------------------------------


@pytest.fixture
def zeros(tmp_path: Path) -> Path:
    """An hour of digital silence."""
    path = tmp_path / "zeros.wav"
    soundfile.write(path, np.zeros(3600 * 16_000, np.int16), 16_000)
    return path


def test_zeros_are_a_fault_that_ends_with_the_first_sound(room, zeros, tmp_path, undisturbed, caplog):
    demo, rate_hz = soundfile.read(demo_path(), dtype="float32")
    dead = tmp_path / "dead.wav"
    soundfile.write(dead, np.concatenate([demo, np.full(12 * rate_hz, 0.125)]), rate_hz)  # one value is as good as 0
    late = tmp_path / "late.wav"
    soundfile.write(late, np.concatenate([np.zeros(20 * rate_hz), demo]), rate_hz)
    watcher = Watcher()
    room.observers.append(watcher)
    room.clock.speed_s = 0.02
    room.daemon(lambda: Live(dead, room.clock), lambda: Live(late, room.clock)).run()
    assert watcher.phases == [Phase.STARTING, Phase.LISTENING, Phase.FAULT, Phase.LISTENING]
    reason = next(health.reason for health in watcher.healths if health.phase is Phase.FAULT)
    assert reason.startswith(f"the microphone '{dead}' gives no sound, only one and the same value all the time; ")
    assert complaints(caplog) == [f"{reason} (it is tried again until it works)"]
    assert said(caplog).count("the microphone works again") == 1
    # the 20 s of zeros were borne, and nothing that followed was missed
    n = len(undisturbed)
    assert same(room.events()[:n], undisturbed)
    assert [e.label for e in room.events()[n:]] == [e.label for e in undisturbed]
    assert FAULT in room.light.names


def test_a_microphone_that_never_gives_a_sound_is_opened_anew_ever_less_often(room, zeros, caplog):
    opened_s: list[float] = []

    def open_source() -> Live:
        opened_s.append(room.clock.now_s)
        if len(opened_s) == 7:
            room.stop.set()
        return Live(zeros, room.clock)

    watcher = Watcher()
    room.observers.append(watcher)
    room.clock.speed_s = 0.01
    totals = room.daemon(*[open_source] * 7).run()
    waits_s = np.diff(opened_s)
    for wait_s, patience_s in zip(waits_s, [*STUCK_S, STUCK_S[-1], STUCK_S[-1]], strict=True):
        assert patience_s <= wait_s <= 4 * patience_s + 5  # this clock goes on with each question, too
    assert len(complaints(caplog)) == 1
    assert watcher.phases == [Phase.STARTING, Phase.FAULT]
    assert watcher.levels == []
    assert totals.n_blocks == 0


def test_a_recording_may_be_silent(room, tmp_path, caplog):
    soundfile.write(tmp_path / "hush.wav", np.zeros(30 * 16_000, np.int16), 16_000)
    totals = room.daemon(lambda: Played(tmp_path / "hush.wav", room.clock)).run()
    assert totals.n_blocks == 1500
    assert complaints(caplog) == []


# The service manager --------------------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """A function that gives the messages that have come since it was called last."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def receive() -> list[str]:
            messages = []
            while True:
                try:
                    messages.append(listening.recv(4096).decode())
                except BlockingIOError:
                    return messages

        yield receive


def test_a_daemon_that_waits_for_its_microphone_or_is_muted_is_well(room, manager):
    """Killing it would not bring the microphone."""
    room.clock.speed_s = 0.05
    heard: dict[Phase, list[str]] = {}

    def act(health: Health) -> None:
        heard.setdefault(health.phase, []).extend(manager())
        if health.phase is Phase.FAULT and health.uptime_s > 10:
            room.mute.set(True)
        if health.phase is Phase.MUTED and health.uptime_s > 20:
            room.stop.set()

    room.observers.append(Watcher(act))
    room.daemon(*[gone] * 10).run()
    assert "READY=1" in heard[Phase.FAULT]
    assert heard[Phase.FAULT].count("WATCHDOG=1") >= 5
    assert "STATUS=no microphone was found; plug one in" in heard[Phase.FAULT]
    assert heard[Phase.MUTED].count("WATCHDOG=1") >= 5
    assert "STATUS=muted" in heard[Phase.MUTED]
    assert manager()[-1] == "STOPPING=1"


def test_a_microphone_that_delivers_nothing_does_not_feed_the_watchdog(room, manager):
    """Only what comes of it does: the fault, which is waited for."""
    room.clock.speed_s = 0.01
    heard: list[str] = []

    def read() -> None:
        heard.extend(manager())

    class Dead(Played):
        def read(self, timeout_s: float = 0.0) -> Block | None:
            read()
            return super().read(timeout_s)

    watcher = Watcher(lambda health: room.stop.set() if health.phase is Phase.FAULT else None)
    room.observers.append(watcher)
    room.daemon(lambda: Dead(demo_path(), room.clock, fail={0: FOREVER})).run()
    assert watcher.phases == [Phase.STARTING, Phase.FAULT]
    assert heard == ["STATUS=starting"]


# The real program -----------------------------------------------------------------------------------------------------


def started(home: Path, *argv: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge", "run", "--source", str(demo_path()), *argv]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_real_program_cleanly(home, number):
    process = started(home)
    assert process.stdout.readline()  # the light
    process.send_signal(number)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "stretches of speech" in err.splitlines()[-1]


def test_the_real_program_plays_a_recording_to_its_end(home):
    process = started(home, "--fast")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert LISTENING in out
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
