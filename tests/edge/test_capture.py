"""Keeping clips: the switch, the light that shows it, the daemon that makes them, and what none of them may do."""

# ruff: noqa: F401, F811 (a fixture is used by its name)

import json
import logging
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from datetime import time as time_of_day
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from emulated_pins import gpio
from observed import event, health

from edge import capture, config
from edge.bundle import default_bundle_path, load_bundle
from edge.button import teaching_button
from edge.capture import CaptureSwitch, parse_duration, since_boot_s
from edge.cli import main
from edge.clips import Clips
from edge.clock import SystemClock
from edge.config import CaptureSettings, demo_path
from edge.daemon import Daemon
from edge.errors import ConfigError, LightError
from edge.events import Detection
from edge.health import HealthFile, read_report
from edge.history import Event, utc_text
from edge.labels import EMOTIONS
from edge.leds import (
    CAPTURING,
    HOLD_S,
    LedSettings,
    Lights,
    Look,
    Night,
    RecordingLight,
    open_lights,
)
from edge.leds.onoff import OneEach
from edge.mute import Mute
from edge.observers import Health, Phase
from edge.pipeline import Pipeline, summarize
from edge.recorder import AROUND_S, HELD_S, LOOK_S, Recorder
from edge.sources import SAMPLE_RATE_HZ, Block, FileSource

# The switch -----------------------------------------------------------------------------------------------------------


def test_the_switch_ends_by_itself_and_everybody_sees_it(tmp_path):
    now_s = [1000.0]
    switch, other = (CaptureSwitch(tmp_path / "state" / "capture", lambda: now_s[0]) for _ in range(2))
    assert switch.left_s == 0
    switch.set(0)  # harmless
    switch.set(60)
    assert switch.left_s == other.left_s == 60
    now_s[0] += 59
    assert other.left_s == 1
    now_s[0] += 1
    assert other.left_s == 0
    other.set(1e9)
    assert switch.left_s == capture.MAX_S
    switch.set(0)
    assert other.left_s == 0
    assert list((tmp_path / "state").iterdir()) == []


def test_a_restart_of_the_board_ends_it(tmp_path):
    """Another boot has another number, and a clock that begins anew."""
    switch = CaptureSwitch(tmp_path / "capture")
    switch.set(3600)
    assert 3590 < switch.left_s <= 3600
    file = json.loads(switch.path.read_bytes())
    switch.path.write_text(json.dumps(file | {"boot": "b8a9ae1f-0000-4000-8000-000000000000"}))
    assert switch.left_s == 0


@pytest.mark.parametrize("content", [b"", b"{", b"on", b'{"boot": "x"}', b"\xff\x00", b'{"boot": "", "end_s": 1e300}'])
def test_when_in_doubt_it_is_off(tmp_path, content):
    switch = CaptureSwitch(tmp_path / "capture")
    switch.path.write_bytes(content)
    assert switch.left_s == 0
    boot = capture._boot_id()
    switch.path.write_text(json.dumps({"boot": boot, "end_s": since_boot_s() + 10 * capture.MAX_S}))
    assert switch.left_s == 0  # nobody can have set that
    switch.path.unlink()
    switch.path.mkdir()
    assert switch.left_s == 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), (" 24H ", 86_400), ("10s", 10)]
)
def test_how_long(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "9s", "25h", "for ever", "-1h", "1.5h", "²h"])
def test_how_long_it_cannot_be(text):
    with pytest.raises(ConfigError, match="write 90s, 30m or 2h; at most 24h"):
        parse_duration(text)


# The light ------------------------------------------------------------------------------------------------------------


def shown(lights: Lights, light: RecordingLight, from_s: float, n_s: float) -> list[tuple[float, Look]]:
    """What is seen, every hundredth of a second."""
    seen = []
    for t_s in np.arange(from_s, from_s + n_s, 0.01):
        lights.tick(t_s)
        seen.append((t_s, light.history[-1]))
    return seen


def heard(label: str) -> Detection:
    return Detection(0.0, 1.0, label, 1.0, {label: 1.0}, False, activation=0.5)


@pytest.mark.parametrize("label", EMOTIONS)
def test_the_mark_comes_through_every_emotion_and_never_makes_it_flash_too_often(label):
    light = RecordingLight()
    lights = Lights(light)
    lights.show_capturing(True)
    seen = []
    for start_s in np.arange(0, 24, HOLD_S - 0.5):
        lights.show_detection(heard(label))
        seen += shown(lights, light, start_s, HOLD_S - 0.5)
    violet = [t_s for t_s, look in seen if look.rgb == pytest.approx((0.6, 0.2, 1.0))]
    for n in range(4):
        assert len([t_s for t_s in violet if 6 * n <= t_s < 6 * n + 1.3]) in range(78, 83)
    assert all(look.is_capturing for _, look in seen)
    levels = np.array([look.level for _, look in seen])
    flashes = np.flatnonzero((levels[1:] >= 0.5) & (levels[:-1] < 0.5))
    assert max(((flashes >= i) & (flashes < i + 100)).sum() for i in range(len(levels))) <= 3


def test_the_mark_is_seen_however_dark_the_light_is_to_be():
    light = RecordingLight()
    lights = Lights(light, 0.0, night=Night("22:00", "07:00", 0.0), time_of_day=lambda: time_of_day(23))
    assert not any(any(look.rgb) for _, look in shown(lights, light, 0, 8))
    lights.show_capturing(True)
    assert any(any(look.rgb) for _, look in shown(lights, light, 8, 2))
    lights.show_capturing(False)
    assert not any(any(look.rgb) or look.is_capturing for _, look in shown(lights, light, 10, 8))


class Outputs:
    """LEDs that keep how they are."""

    def __init__(self) -> None:
        self.lit: dict[str, bool] = {}

    def write(self, name: str, is_lit: bool) -> None:
        self.lit[name] = is_lit

    def release(self) -> None:
        self.lit = {}


def test_an_led_of_its_own_shines_all_the_time():
    outputs = Outputs()
    lights = Lights(OneEach(outputs, ["happy", CAPTURING]))
    lights.show_capturing(True)
    for t_s in np.arange(0, 20, 0.1):
        lights.tick(t_s)
        assert outputs.lit == {CAPTURING: True}
    lights.show_capturing(False)
    lights.tick(21)
    assert outputs.lit == {CAPTURING: False}


def test_an_led_of_its_own_leaves_the_others_as_they_are():
    def fault_led(*, is_capturing: bool) -> list[bool]:
        outputs = Outputs()
        lights = Lights(OneEach(outputs, ["fault", CAPTURING]), has_capturing_led=True)
        lights.show_capturing(is_capturing)
        lights.show_status(Phase.FAULT)
        shown = []
        for t_s in np.arange(0, 20, 0.04):
            lights.tick(t_s)
            shown.append(outputs.lit.get("fault", False))
            assert outputs.lit.get(CAPTURING, False) == is_capturing
        return shown

    shown = fault_led(is_capturing=True)
    assert 0 < sum(shown) < len(shown)
    assert shown == fault_led(is_capturing=False)


def test_which_lights_can_show_it():
    assert LedSettings(kind="terminal").can_show_capturing
    assert LedSettings(kind="rgb").can_show_capturing
    assert not LedSettings(kind="none").can_show_capturing
    assert not LedSettings(kind="pins", pins={"happy": 5}).can_show_capturing
    assert LedSettings(kind="pins", pins={"happy": 5, "capturing": 6}).can_show_capturing
    assert LedSettings(kind="pins", pins={"happy": 5, "capturing": 6}).has_capturing_led
    assert not LedSettings(kind="rgb").has_capturing_led
    assert not open_lights(LedSettings(kind="none")).can_show_capturing


# The recorder ---------------------------------------------------------------------------------------------------------

LIMITS = CaptureSettings()


@dataclass
class Desk:
    """A recorder on its own, and its clock."""

    folder: Path
    now_s: float = 0.0
    limits: CaptureSettings = LIMITS

    def __post_init__(self) -> None:
        self.switch = CaptureSwitch(self.folder / "capture")
        self.clips = Clips(self.folder / "clips")
        self.recorder = Recorder(self.switch, self.clips, self.limits, has_view=False)

    def look(self, is_seen: bool = True) -> float:
        self.now_s += 1
        self.recorder.look(self.now_s, is_seen)
        return self.recorder.left_s


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.recorder.close()


def said_at(start_s: float, end_s: float) -> Event:
    now = utc_text(datetime.now(timezone.utc))
    return msgspec.structs.replace(event(), ts=now, start_s=start_s, end_s=end_s)


def ramp(start: int, end: int) -> np.ndarray:
    """Samples by which their place can be told; exact in 16 bits."""
    return (np.arange(start, end) % 32_000 / 32_768).astype(np.float32)


def hear(desk: Desk, start: int, end: int, n: int = 320) -> None:
    for at in range(start, end, n):
        desk.recorder.hear(ramp(at, min(at + n, end)), min(at + n, end))


def kept(desk: Desk) -> list[np.ndarray]:
    """The samples of all clips, once the recorder has written what it has."""
    desk.recorder.close()
    return [soundfile.read(desk.clips.recording(clip.id), dtype="float32")[0] for clip in desk.clips.all()]


@pytest.mark.parametrize("n", [77, 320, 16_001, 40 * SAMPLE_RATE_HZ])
def test_a_clip_is_the_speech_and_a_bit_of_the_room_bit_for_bit(desk, n):
    desk.switch.set(60)
    desk.look()
    hear(desk, 0, 40 * SAMPLE_RATE_HZ, n)
    desk.recorder.on_event(said_at(38.0, 39.0))
    (samples,) = kept(desk)
    around = round(AROUND_S * SAMPLE_RATE_HZ)
    np.testing.assert_array_equal(samples, ramp(38 * SAMPLE_RATE_HZ - around, 39 * SAMPLE_RATE_HZ + around))
    with soundfile.SoundFile(desk.clips.recording(desk.clips.all()[0].id)) as file:
        assert (file.format, file.subtype, file.samplerate, file.channels) == ("FLAC", "PCM_16", 16_000, 1)


def test_smaller_limits_remove_what_is_too_much_at_once(desk):
    desk.switch.set(60)
    desk.look()
    hear(desk, 0, 20 * SAMPLE_RATE_HZ)
    for second in (2.0, 6.0, 10.0):
        desk.recorder.on_event(said_at(second, second + 1))
    desk.recorder.limit(CaptureSettings(max_clips=1))
    assert len(kept(desk)) == 1


def test_nothing_is_in_memory_unless_it_is_on(desk):
    desk.look()
    hear(desk, 0, 16_000)
    assert desk.recorder.n_held == 0
    desk.switch.set(60)
    assert desk.look() > 0
    hear(desk, 16_000, 32_000)
    ring = desk.recorder._ring
    assert ring.any()
    desk.switch.set(0)
    assert desk.look() == 0
    assert desk.recorder.n_held == 0
    assert not ring.any()  # overwritten, not only let go
    desk.recorder.on_event(said_at(1.2, 1.8))
    assert kept(desk) == []


def test_only_what_was_heard_as_a_whole_since_then_is_kept(desk):
    desk.switch.set(60)
    desk.look()
    hear(desk, 160_000, 320_000)
    desk.recorder.on_event(said_at(9.9, 11.0))  # began before it was on
    desk.recorder.on_event(said_at(9.0, 9.5))
    hear(desk, 400_000, 480_000)  # others were lost in between
    desk.recorder.on_event(said_at(19.0, 26.0))
    hear(desk, 480_000, 480_000 + round((HELD_S + 1) * SAMPLE_RATE_HZ))
    desk.recorder.on_event(said_at(26.0, 60.0))  # longer than what is held
    assert kept(desk) == []


def test_nothing_is_kept_while_no_light_shows_it(desk):
    desk.switch.set(60)
    assert desk.look(is_seen=False) == 0
    hear(desk, 0, 16_000)
    assert desk.recorder.n_held == 0
    assert desk.look(is_seen=True) > 0
    hear(desk, 16_000, 32_000)
    desk.recorder.look(desk.now_s, False)  # at once, not at the next look
    assert desk.recorder.left_s == 0
    assert desk.recorder.n_held == 0


@pytest.mark.parametrize("is_seen", [True, False])
def test_the_switch_is_looked_at_four_times_a_second_whatever_the_light(desk, is_seen):
    """The card is read for it; 40 blocks of 25 ms are a second."""
    desk.switch.set(60)
    looks = []
    desk.recorder._switch = CaptureSwitch(desk.switch.path, lambda: looks.append(1) or since_boot_s())
    for block in range(40):
        desk.recorder.look(block / 40, is_seen)
    assert len(looks) == 1 / LOOK_S


def test_who_does_not_want_to_be_heard_ends_it(desk):
    desk.switch.set(60)
    desk.look()
    hear(desk, 0, 32_000)
    desk.recorder.end()
    desk.recorder.on_event(said_at(0.5, 1.5))
    assert desk.switch.left_s == desk.look() == 0
    assert kept(desk) == []


def test_it_stays_ended_where_the_switch_cannot_follow(desk, caplog):
    """A card that can only be read any more."""
    desk.switch.set(60)
    with desk.switch.path.open() as file:
        fixed = Path(f"/proc/self/fd/{file.fileno()}")  # which nobody can remove
        desk.recorder._switch = CaptureSwitch(fixed)
        assert desk.look() > 0
        desk.recorder.end()
        assert f"{fixed}: cannot be removed: " in caplog.text
        assert desk.look() == 0
    desk.recorder._switch = desk.switch
    assert desk.look() == 0
    desk.switch.set(0)
    desk.look()
    desk.switch.set(60)
    assert desk.look() > 0  # by hand, and once more


def test_a_disk_that_takes_nothing_is_said_once(tmp_path, caplog):
    (tmp_path / "clips").write_text("a file where the folder should be")
    desk = Desk(tmp_path)
    desk.switch.set(60)
    desk.look()
    hear(desk, 0, 64_000)
    for start_s in (0.5, 1.5, 2.5):
        desk.recorder.on_event(said_at(start_s, start_s + 0.5))
    desk.recorder.close()
    complaints = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(complaints) <= 2  # for looking, and for writing
    assert all(line.startswith(f"{tmp_path}/clips: ") for line in complaints) and complaints


def test_a_library_that_is_missing_is_named_with_what_installs_it(desk, monkeypatch, caplog):
    class Missing:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "soundfile":
                raise OSError("cannot load library 'libsndfile.so'")

    monkeypatch.delitem(sys.modules, "soundfile")
    monkeypatch.setattr(sys, "meta_path", [Missing, *sys.meta_path])
    desk.switch.set(60)
    desk.look()
    hear(desk, 0, 64_000)
    desk.recorder.on_event(said_at(1.0, 2.0))
    desk.recorder.close()
    assert "sudo apt install libsndfile1" in caplog.text


def test_what_is_too_old_goes_also_while_it_is_off(tmp_path):
    clips = Clips(tmp_path / "clips")
    clips.add(b"old", 1.0, event())  # of March
    young = clips.add(b"young", 1.0, said_at(0, 1))
    (clips.folder / "20260301-130000-000.flac").write_bytes(b"half")
    (tmp_path / "clips.clock").write_text(f"{time.time() - 1e9} {time.time()}")
    Desk(tmp_path).recorder.close()
    assert clips.all() == [young]
    assert len(list(clips.folder.iterdir())) == 2


def test_when_all_clips_have_been_named_no_others_push_them_out(tmp_path, caplog):
    clips = Clips(tmp_path / "clips")  # before there is a recorder, which alone adds to them from then on
    first = clips.add(b"named", 1.0, said_at(0, 1))
    clips.label(first.id, "sad")
    desk = Desk(tmp_path, limits=CaptureSettings(max_clips=1))
    desk.switch.set(60)
    desk.look()
    hear(desk, 0, 64_000)
    desk.recorder.on_event(said_at(1.0, 2.0))
    desk.recorder.close()
    assert [clip.id for clip in desk.clips.all()] == [first.id]
    assert "full of clips that have been named" in caplog.text


# The daemon -----------------------------------------------------------------------------------------------------------


class Scripted(FileSource):
    """The demo recording; something happens just before some of its blocks, and some of it may be lost."""

    def __init__(self, at_block: dict[int, Callable[[], object]], lose: dict[int, int]) -> None:
        super().__init__(demo_path(), block_ms=20)
        self._at_block = at_block
        self._lose = lose
        self._n_read = 0

    def read(self, timeout_s: float = 0.0) -> Block | None:
        self._at_block.pop(self._n_read, lambda: None)()  # once, also where the recording begins anew
        block = super().read(timeout_s)
        lost = self._lose.get(self._n_read, 0)
        self._n_read += 1
        return block if block is None else Block(block.samples, lost)


class Fragile(RecordingLight):
    """A light that can be broken."""

    is_broken = False

    def show(self, look: Look) -> None:
        if self.is_broken:
            raise LightError("the light has come off; plug it in")
        super().show(look)


class FastClock(SystemClock):
    """A minute in a few milliseconds, so that the switch is looked at for every block."""

    def monotonic(self) -> float:
        return super().monotonic() * 1000


@dataclass
class Watcher:
    """Keeps what it was told, and may do something when it hears how the daemon is."""

    act: Callable[[Health], object] = lambda told: None
    events: list = field(default_factory=list)
    healths: list[Health] = field(default_factory=list)

    def on_level(self, level_db, speaking): ...

    def on_score(self, score): ...

    def on_event(self, event):
        self.events.append(event)

    def on_health(self, health):
        self.healths.append(health)
        self.act(health)

    def close(self): ...


@dataclass
class Room:
    folder: Path
    light: Fragile = field(default_factory=Fragile)
    watcher: Watcher = field(default_factory=Watcher)
    at_block: dict[int, Callable[[], object]] = field(default_factory=dict)
    lose: dict[int, int] = field(default_factory=dict)
    can_show_capturing: bool = True

    def __post_init__(self) -> None:
        self.switch = CaptureSwitch(self.folder / "capture")
        self.mute = Mute(self.folder / "mute")
        self.clips = Clips(self.folder / "clips")

    def run(self) -> None:
        bundle = load_bundle(default_bundle_path())
        Daemon(
            open_source=lambda: Scripted(self.at_block, self.lose),
            pipeline=Pipeline(bundle),
            lights=Lights(self.light, can_show_capturing=self.can_show_capturing),
            history=None,
            clock=FastClock(),
            stop=threading.Event(),
            node="kitchen",
            model=bundle.id,
            observers=[self.watcher],
            mute=self.mute,
            recorder=Recorder(self.switch, self.clips, LIMITS, has_view=False),
        ).run()

    def samples(self) -> list[np.ndarray]:
        return [soundfile.read(self.clips.recording(c.id), dtype="float32")[0] for c in self.clips.all()]


@pytest.fixture
def room(tmp_path, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    return Room(tmp_path)


@pytest.fixture(scope="module")
def demo() -> np.ndarray:
    return soundfile.read(demo_path(), dtype="float32")[0]


def place_of(samples: np.ndarray, demo: np.ndarray) -> int:
    """Where in the demo these samples are, bit for bit; -1 for nowhere."""
    starts = np.flatnonzero(demo[: len(demo) - len(samples) + 1] == samples[0])
    return next((int(at) for at in starts if np.array_equal(demo[at : at + len(samples)], samples)), -1)


def test_every_stretch_of_speech_becomes_a_clip_with_its_guess(room, demo, undisturbed):
    room.switch.set(600)
    room.run()
    clips, events = room.clips.all(), room.watcher.events
    assert [(c.about.guess, c.about.ts, c.about.probs) for c in clips] == [(e.label, e.ts, e.probs) for e in events]
    assert len(clips) == len(undisturbed)
    for samples, told in zip(room.samples(), events, strict=True):
        assert place_of(samples, demo) == pytest.approx((told.start_s - AROUND_S) * SAMPLE_RATE_HZ, abs=1)
    assert room.watcher.healths[-1].capturing_s > 0
    assert any(look.is_capturing and look.rgb == (0.6, 0.2, 1.0) for look in room.light.history)


def test_a_clip_alone_is_one_stretch_of_speech_for_the_pipeline(room):
    room.switch.set(600)
    room.run()
    bundle = load_bundle(default_bundle_path())
    for samples in room.samples():
        pipeline = Pipeline(bundle)
        events = [*pipeline.push(samples), *pipeline.flush()]
        found = [one for one in events if isinstance(one, Detection)]
        assert summarize(found, bundle, len(samples) / SAMPLE_RATE_HZ).segments == 1


def test_without_the_switch_there_is_nothing(room, undisturbed):
    room.run()
    assert len(room.watcher.events) == len(undisturbed) > 0
    assert list(room.folder.iterdir()) == []
    assert not any(look.is_capturing for look in room.light.history)
    assert all(told.capturing_s == 0 for told in room.watcher.healths)


def middle_of(told) -> int:
    """The block in the middle of a stretch of speech."""
    return round((told.start_s + told.end_s) / 2 / 0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> list:
    room = Room(tmp_path_factory.mktemp("undisturbed"))
    room.run()
    return room.watcher.events


def test_it_begins_and_ends_between_two_blocks(room, undisturbed):
    room.at_block = {
        middle_of(undisturbed[1]): lambda: room.switch.set(600),
        middle_of(undisturbed[4]): lambda: room.switch.set(0),
    }
    room.run()
    # of what was open at either moment, nothing is kept
    assert [clip.about.probs for clip in room.clips.all()] == [told.probs for told in undisturbed[2:4]]
    assert room.watcher.healths[-1].capturing_s == 0


def test_mute_ends_it_and_what_was_just_said_is_not_kept(room, undisturbed):
    room.switch.set(600)
    room.at_block = {middle_of(undisturbed[1]): lambda: room.mute.set(True)}
    room.watcher.act = lambda told: room.mute.set(False) if told.phase is Phase.MUTED else None
    room.run()
    assert room.switch.left_s == 0
    # the recording begins anew after the mute, but capture is off then
    assert len(room.watcher.events) == 2 + len(undisturbed)
    assert len(room.clips.all()) == 1
    assert Phase.MUTED in {told.phase for told in room.watcher.healths}


def test_lost_samples_are_in_no_clip(room, undisturbed, demo):
    room.switch.set(600)
    room.lose = {middle_of(undisturbed[2]): 16_000}
    room.run()
    assert len(room.clips.all()) == len(room.watcher.events) > 0
    gap = middle_of(undisturbed[2]) * 320
    for samples in room.samples():
        at = place_of(samples, demo)
        assert at >= 0
        assert not at < gap < at + len(samples)


def test_a_light_that_breaks_ends_it_and_one_that_cannot_show_it_never_begins(room, undisturbed):
    room.switch.set(600)

    def break_light() -> None:
        room.light.is_broken = True

    room.at_block = {middle_of(undisturbed[2]): break_light}
    room.run()
    assert len(room.clips.all()) == 2
    room.clips.delete_all()
    dark = Room(room.folder, can_show_capturing=False)
    dark.run()
    assert dark.clips.all() == []
    assert all(told.capturing_s == 0 for told in dark.watcher.healths)


# The buttons ----------------------------------------------------------------------------------------------------------


def wait_until(condition: Callable[[], object]) -> None:
    """As long as it takes: this machine may be busy."""
    end_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def press(gpio, pin: int, has_done: Callable[[], object]) -> None:
    wait_until(lambda: gpio.state(pin) == ("in", 1))  # pulled up
    time.sleep(0.1)
    gpio.levels[pin] = 0
    wait_until(has_done)
    gpio.levels[pin] = 1


def test_a_press_says_what_the_last_clip_was(gpio, tmp_path, caplog):
    clips = Clips(tmp_path / "clips")
    buttons = [teaching_button(23, "happy", clips), teaching_button(24, "sad", clips)]
    try:
        press(gpio, 23, lambda: "the button for happy was pressed, but there is no clip to name" in caplog.text)
        first = clips.add(b"first", 1.0, said_at(0, 1))
        press(gpio, 24, lambda: clips.all()[0].about.emotion == "sad")
        clips.add(b"second", 1.0, said_at(2, 3))
        press(gpio, 23, lambda: clips.all()[1].about.emotion == "happy")
        press(gpio, 24, lambda: clips.all()[1].about.emotion == "sad")  # which it was, after all
        assert clips.all()[0].about.emotion == "sad" and clips.all()[0].id == first.id
    finally:
        for button in buttons:
            button.close()
    assert gpio._use == {}


def test_a_button_that_cannot_be_read_is_named(gpio, tmp_path, caplog):
    gpio.broken.add(23)
    button = teaching_button(23, "happy", Clips(tmp_path))
    wait_until(lambda: caplog.messages)
    button.close()
    (line,) = caplog.messages
    assert line.startswith("capture.buttons.happy = 23: GPIO 23 cannot be read: GPIO not allocated; is this user in ")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[capture]\nbuttons = { glad = 5 }", 'capture.buttons.glad: there is no emotion "glad", only neutral, calm'),
        ("[capture]\nbuttons = { happy = 1 }", "capture.buttons.happy = 1: expected a whole number from 2 to 27"),
        ("[capture]\nbuttons = { happy = 5, sad = 5 }", "capture.buttons.happy = 5: two buttons share this pin; each"),
        ("[capture]\nbuttons = { sad = 17 }\n[leds]\nkind = 'rgb'", "capture.buttons.sad = 17: leds.pins.red uses it"),
        (
            "[capture]\nbuttons = { sad = 5 }\n[mute]\nbutton_pin = 5",
            "capture.buttons.sad = 5: mute.button_pin uses it",
        ),
    ],
)
def test_each_button_needs_a_pin_of_its_own(text, complaint):
    with pytest.raises(ConfigError) as error:
        config.parse(text, Path("/c.toml"))
    assert str(error.value).startswith(f"/c.toml: {complaint}")


# The command ----------------------------------------------------------------------------------------------------------


def test_without_a_daemon_it_is_set_for_its_start(home, monkeypatch, capsys):
    monkeypatch.setattr(config, "SYSTEM_STATE", home / "no-service-here")
    assert main(["capture", "on", "--for", "2h"]) == 0
    assert capsys.readouterr().out.startswith("capture is on for 2 hours; tonelight does not run here now")
    assert 7190 < CaptureSwitch(home / "state" / "capture").left_s <= 7200
    assert main(["capture", "off"]) == 0
    assert capsys.readouterr().out == "capture is off\n"
    assert list((home / "state").iterdir()) == []


def complaint(capsys, *argv: str) -> str:
    assert main(["capture", *argv]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err.removeprefix("tonelight: ")


def test_the_real_program_follows(home, capsys):
    """The demo recording at its own pace."""
    file = home / "run" / "health.json"
    command = [sys.executable, "-m", "edge", "run", "--source", str(demo_path())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: (told := read_report(file)) and told.health.phase is Phase.LISTENING)
        assert main(["capture", "on"]) == 0
        assert capsys.readouterr().out.startswith("clips of what is said are kept on this board for 30 minutes; ")
        assert main(["capture", "off"]) == 0
        assert capsys.readouterr().out.startswith("clips are no longer kept; ")
        assert main(["capture", "on"]) == 0
        assert main(["mute"]) == 0
        assert CaptureSwitch(home / "state" / "capture").left_s == 0
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert " clips kept" in out  # the light


def test_what_cannot_be_is_one_line(home, capsys, monkeypatch):
    monkeypatch.setattr(config, "SYSTEM_STATE", home / "no-service-here")
    assert complaint(capsys, "on", "--for", "ever").startswith('"ever" is no time that clips can be kept for: ')
    (home / "mine.toml").write_text("[leds]\nkind = 'none'")
    line = complaint(capsys, "on", "--config", str(home / "mine.toml"))
    assert line.startswith('leds.kind = "none": this light cannot show that clips are kept, and unseen none are')
    Mute(home / "state" / "mute").set(True)
    assert complaint(capsys, "on").startswith(
        "muted: nothing is heard, so there is nothing to keep; `tonelight unmute`"
    )
    assert not (home / "state" / "capture").exists()


def test_a_daemon_that_keeps_none_is_said_and_it_is_off_again(home, capsys, monkeypatch):
    """The health file of a daemon whose light does not work."""
    monkeypatch.setattr("edge.commands.capture.WAIT_S", 0.2)
    file = HealthFile(home / "run" / "health.json")
    file.on_health(health())
    assert complaint(capsys, "on").startswith("the tonelight that runs keeps no clips, as its light does not work")
    assert CaptureSwitch(home / "state" / "capture").left_s == 0
    file.on_health(health(capturing_s=60.0))
    assert main(["capture", "on"]) == 0
    assert capsys.readouterr().out.startswith("clips of what is said are kept on this board for 30 minutes; the light")
    assert complaint(capsys, "off").startswith("capture is off, but the tonelight that runs has not followed")


def test_no_setting_switches_it_on():
    assert set(CaptureSettings.__struct_fields__) == {"max_clips", "max_mb", "max_days", "buttons"}
    with pytest.raises(ConfigError, match=r"unknown key capture.enabled"):
        config.parse("[capture]\nenabled = true", Path("/c.toml"))


def test_only_these_know_the_switch():
    """Neither MQTT nor metrics nor anything else that listens to a network, the page excepted."""
    edge = Path(config.__file__).parent
    knowing = {
        path.relative_to(edge).as_posix()
        for path in edge.rglob("*.py")
        if re.search(r"edge\.capture|import capture|capture_path|CaptureSwitch", path.read_text())
    }
    assert knowing == {
        "capture.py",
        "config.py",  # where it lies
        "commands/capture.py",
        "commands/clips.py",
        "commands/run.py",
        "cli.py",
        "doctor.py",  # which only looks
        "recorder.py",
        "web/page.py",
        "web/teaching.py",
    }
