"""A microphone that is pulled out a hundred times: a source of ours, and a stream of PortAudio and ALSA."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.endurance.room import (
    BLOCK,
    N_CYCLES,
    PATIENCE_S,
    SEED,
    Played,
    Room,
    SoundClock,
    Watcher,
    build,
    expected,
    held,
    n_differing,
    say,
)
from edge.errors import SourceError
from edge.history import read_events
from edge.observers import Health, Phase
from edge.sources import SAMPLE_RATE_HZ, MicrophoneSource


def unplug(folder: Path, out: Path) -> dict[str, Any]:
    rng = random.Random(SEED)
    cuts = [0]
    for _ in range(N_CYCLES + 1):
        cuts.append(cuts[-1] + rng.randrange(5 * 50, 55 * 50))
    stretches = list(pairwise(cuts))
    clock, room = SoundClock(2, question_s=0.05), Room()
    n_opened, n_refused, samples = 0, 0, []

    def open_source() -> Played:
        nonlocal n_opened, n_refused
        if n_opened and rng.random() < 0.5:
            n_refused += 1
            raise SourceError("no microphone was found; plug one in")
        samples.append(held())
        n_opened += 1
        first, last = stretches[n_opened - 1]
        if n_opened % 20 == 0:
            say(f"unplug: {n_opened} of {len(stretches)}")
        return Played(room, clock, first, last, ends=n_opened == len(stretches))

    totals = build(folder, clock, open_source, [], threading.Event()).run()
    events = list(read_events(folder / "history.db"))
    wanted = expected(stretches)
    return {
        "n_unplugged": n_opened - 1,
        "n_refused": n_refused,
        "hours": cuts[-1] * BLOCK / SAMPLE_RATE_HZ / 3600,
        "n_wanted": len(wanted),
        "n_logged": len(events),
        "n_detections": totals.n_detections,
        "n_differing": n_differing(events, wanted),
        "rss_first": samples[5]["rss"],
        "rss_last": samples[-1]["rss"],
        "fds_first": samples[1]["fds"],
        "fds_last": samples[-1]["fds"],
    }


class FastClock:
    """Runs as the machine's, but faster: the daemon's waits get short."""

    def __init__(self, speed: float) -> None:
        self._speed = speed

    def monotonic(self) -> float:
        return time.monotonic() * self._speed

    def now(self) -> datetime:
        return datetime.now(timezone.utc)


@dataclass
class Cable:
    """A microphone of ALSA that hears what a thread writes into a pipe: stalled, gone from the list, and back."""

    folder: Path
    speed: float
    mode: str = "sound"  # or "stalled", "draining": nobody listens, and what waits for sound must not wait for ever
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._pipe = self.folder / "microphone"
        os.mkfifo(self._pipe)
        self._end = os.open(self._pipe, os.O_RDWR | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def plug(self, name: str, heard: str = "") -> None:
        """From now on, the one microphone there is has that name; it hears the pipe, or another file."""
        infile = heard or self._pipe
        device = f'{{ type file slave.pcm "null" file "/dev/null" infile "{infile}" format "raw" }}'
        config = self.folder / f"{name.partition(' ')[0]}.conf"  # a space would end the path
        # PortAudio cannot live without a device called "default"
        config.write_text(f'pcm.null {{ type null }}\npcm."{name}" {device}\npcm.default {device}\n')
        os.environ["ALSA_CONFIG_PATH"] = str(config)

    def close(self) -> None:
        self.over.set()
        self._thread.join()
        os.close(self._end)

    def _feed(self) -> None:
        rate_hz = 44_100
        # the same minute again and again, faster and higher than it was: nobody compares these events
        sound = memoryview(np.repeat(Room().minute(0), 4).astype("<f4").tobytes())
        position, silence = 0, bytes(4096)
        while not self.over.is_set():
            try:
                if self.mode == "sound":
                    n = os.write(self._end, sound[position : position + 16_384])
                    position = (position + n) % len(sound)
                    time.sleep(n / 8 / rate_hz / self.speed)
                    continue
                if self.mode == "draining":
                    os.write(self._end, silence)
                    continue
            except BlockingIOError:  # full
                pass
            time.sleep(0.002)


def microphone(folder: Path, out: Path) -> dict[str, Any]:
    rng = random.Random(SEED)
    cable, clock, stop = Cable(folder, 4.0), FastClock(8.0), threading.Event()
    phases: list[tuple[Phase, str]] = []
    changed = threading.Condition()

    def keep(health: Health) -> None:
        with changed:
            if not phases or phases[-1] != (health.phase, health.reason):
                phases.append((health.phase, health.reason))
                changed.notify_all()

    def wait(what: Callable[[Phase, str], bool]) -> None:
        with changed:
            assert changed.wait_for(lambda: bool(phases) and what(*phases[-1]), PATIENCE_S), phases[-3:]

    samples = []

    def play() -> None:
        try:
            for cycle in range(N_CYCLES + 1):
                wait(lambda phase, reason: phase is Phase.LISTENING)
                time.sleep(rng.uniform(1.3, 1.8))  # long enough for it to count as one that works
                if cycle == N_CYCLES:
                    break
                cable.mode = "stalled"
                wait(lambda phase, reason: phase is Phase.FAULT)
                cable.plug("another one", "/dev/zero")
                cable.mode = "draining"
                wait(lambda phase, reason: "no microphone is called" in reason)
                samples.append(held())
                cable.plug("desk microphone")
                cable.mode = "sound"
                if cycle % 10 == 9:
                    say(f"microphone: {cycle + 1} of {N_CYCLES}, {samples[-1]}")
        finally:
            stop.set()
            cable.mode = "draining"

    cable.plug("desk microphone")
    player = threading.Thread(target=play, daemon=True)
    player.start()
    logging.disable()
    try:
        totals = build(folder, clock, lambda: MicrophoneSource("desk"), [Watcher(act=keep)], stop).run()
    finally:
        logging.disable(logging.NOTSET)
    player.join()
    cable.close()
    return {
        "n_unplugged": len(samples),
        "n_listening": sum(phase is Phase.LISTENING for phase, _ in phases),
        "n_detections": totals.n_detections,
        "n_logged": len(list(read_events(folder / "history.db"))),
        "rss_first": samples[9]["rss"],
        "rss_half": samples[len(samples) // 2]["rss"],
        "rss_last": samples[-1]["rss"],
        "fds_first": samples[0]["fds"],
        "fds_last": samples[-1]["fds"],
        "threads_first": samples[0]["threads"],
        "threads_last": samples[-1]["threads"],
    }
