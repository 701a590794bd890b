"""A room as sound: minutes of it, the time it takes, a microphone that hears it, and what a daemon made of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from edge.bundle import default_bundle_path, load_bundle
from edge.config import demo_path
from edge.daemon import Daemon
from edge.errors import SourceError
from edge.events import Detection
from edge.history import Event, History
from edge.leds import LedSettings, open_lights
from edge.mute import Mute
from edge.observers import Health, Observer
from edge.pipeline import Pipeline
from edge.sources import SAMPLE_RATE_HZ, Block

ROOT: Final = Path(__file__).parents[2]
SEED: Final = 24
HOURS: Final = 24
N_CYCLES: Final = 100
MINUTE: Final = 60 * SAMPLE_RATE_HZ
BLOCK: Final = SAMPLE_RATE_HZ // 50
"""20 ms; sound is cut at multiples of it."""
LONG_BLOCK: Final = SAMPLE_RATE_HZ
"""The longest that the configuration allows; all but one minute of 24 come in these: the answer is the same, sooner."""
CHECKED_MINUTES: Final = 180
"""So much of the day is computed a second time, by a bare pipeline."""
PATIENCE_S: Final = 120.0

Float32 = NDArray[np.float32]
Heard = tuple[float, float, str, tuple[float, ...]]
"""What an event must agree in: its place, its emotion, and the share of each."""


class Room:
    """Minutes of sound, each a function of its number. The same memory holds one after the other."""

    def __init__(self, seed: int = SEED) -> None:
        self._seed = seed
        self._speech: Float32 = soundfile.read(demo_path(), dtype="float32")[0]
        noise = np.random.default_rng(seed).standard_normal(MINUTE + SAMPLE_RATE_HZ, np.float32)
        self._noise: Float32 = noise * np.float32(10 ** (-70 / 20))
        self._minute: Float32 = np.zeros(MINUTE, np.float32)
        # its own, so that what this makes on the way is not taken for the daemon's
        self._scaled: Float32 = np.empty_like(self._speech)

    def minute(self, number: int) -> Float32:
        """Shape `(MINUTE,)`, good until the next one is asked for."""
        rng = np.random.default_rng([self._seed, number])
        offset = int(rng.integers(SAMPLE_RATE_HZ))
        self._minute[:] = self._noise[offset : offset + MINUTE]
        start = int(rng.integers(MINUTE - len(self._speech)))
        gain = np.float32(10 ** (rng.uniform(-18, 0) / 20))
        np.multiply(self._speech, gain, out=self._scaled)
        self._minute[start : start + len(self._speech)] += self._scaled
        return self._minute


class SoundClock:
    """Time as the sound tells it, and a little for each question; the time of day ends about now."""

    def __init__(self, hours: float, question_s: float = 1e-6) -> None:
        self.now_s = 1000.0
        self._question_s = question_s
        self._began = datetime.now(timezone.utc) - timedelta(hours=hours, seconds=1000)

    def monotonic(self) -> float:
        self.now_s += self._question_s
        return self.now_s

    def now(self) -> datetime:
        return self._began + timedelta(seconds=self.now_s)


class Played:
    """Blocks `first` to `last` of the room's sound as a microphone that then fails, or where `ends`, is over.

    It moves the clock, and calls `at_minute` at the start of each minute.
    """

    n_overruns = 0
    n_lost = 0
    stuck_s = 0.0
    name = "a room"
    warnings: Sequence[str] = ()

    def __init__(
        self,
        room: Room,
        clock: SoundClock,
        first: int,
        last: int,
        ends: bool,
        at_minute: Callable[[int], object] = lambda number: None,
    ) -> None:
        self._room, self._clock, self._next, self._last, self._ends = room, clock, first, last, ends
        self._at_minute = at_minute
        self._minute = room.minute(first * BLOCK // MINUTE)

    def read(self, timeout_s: float) -> Block | None:
        if self._next == self._last:
            if self._ends:
                return None
            self._clock.now_s += timeout_s
            raise SourceError("the microphone 'desk' has stopped; check that it is still plugged in")
        number, start = divmod(self._next * BLOCK, MINUTE)
        if start == 0:
            self._at_minute(number)
            self._minute = self._room.minute(number)
        length = min(LONG_BLOCK if number % 24 else BLOCK, (self._last - self._next) * BLOCK, MINUTE - start)
        self._next += length // BLOCK
        self._clock.now_s += length / SAMPLE_RATE_HZ
        return Block(self._minute[start : start + length].copy())

    def close(self) -> None:
        pass

    def __enter__(self) -> Played:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


def expected(stretches: Sequence[tuple[int, int]]) -> list[Heard]:
    """What a bare pipeline hears in the stretches (first and last block), in pieces of up to a minute."""
    room, pipeline, heard = Room(), Pipeline(load_bundle(default_bundle_path())), []
    for first, last in stretches:
        pipeline.reset()
        events = []
        start = first * BLOCK
        while start < last * BLOCK:
            number, offset = divmod(start, MINUTE)
            end = min(last * BLOCK, (number + 1) * MINUTE)
            events += pipeline.push(room.minute(number)[offset : offset + end - start].copy())
            start = end
        events += pipeline.flush()
        offset_s = first * BLOCK / SAMPLE_RATE_HZ
        heard += [
            (e.start_s + offset_s, e.end_s + offset_s, e.label, tuple(e.probs.values()))
            for e in events
            if isinstance(e, Detection)
        ]
    return heard


def n_differing(events: Sequence[Event], wanted: Sequence[Heard]) -> int:
    """How many events are missing, are too many, or are others."""
    found = [(e.start_s, e.end_s, e.label, tuple(e.probs.values())) for e in events]
    n_others = sum(
        a[2:] != b[2:] or abs(a[0] - b[0]) > 1e-6 or abs(a[1] - b[1]) > 1e-6
        for a, b in zip(found, wanted, strict=False)
    )
    return n_others + abs(len(found) - len(wanted))


# --- what a process holds


def held(pid: int | str = "self") -> dict[str, int]:
    """Memory in bytes (`rss`, and `anon` of it: what is not the files of programs), descriptors, and threads."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "rss": int(status["VmRSS"].split()[0]) * 1024,
        "anon": int(status["RssAnon"].split()[0]) * 1024,
        "fds": sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        "threads": int(status["Threads"]),
    }


def children() -> list[int]:
    """Of this process, whichever thread began them."""
    lists = (path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return [int(pid) for pids in lists for pid in pids.split()]


@dataclass
class Watcher:
    """An observer that counts, and does something with how the daemon is."""

    act: Callable[[Health], object] = lambda health: None
    n_events: int = 0

    def on_level(self, level_db: float, speaking: bool) -> None:
        pass

    def on_score(self, score: object) -> None:
        pass

    def on_event(self, event: Event) -> None:
        self.n_events += 1

    def on_health(self, health: Health) -> None:
        self.act(health)

    def close(self) -> None:
        pass


def build(
    folder: Path, clock: Any, open_source: Callable[[], Any], observers: Sequence[Observer], stop: threading.Event
) -> Daemon:
    """The daemon as `tonelight run` wires it, with a clock and a source of ours."""
    bundle = load_bundle(default_bundle_path())
    return Daemon(
        open_source=open_source,
        pipeline=Pipeline(bundle),
        lights=open_lights(LedSettings(kind="none")),
        history=History(folder / "history.db", max_mb=64, max_days=365, clock=clock.monotonic),
        clock=clock,
        stop=stop,
        node="endurance",
        model=bundle.id,
        observers=observers,
        mute=Mute(folder / "mute"),
    )


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def say(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S}  {text}", flush=True)
