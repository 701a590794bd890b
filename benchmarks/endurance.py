"""A day of sound, a microphone that is pulled out a hundred times, and a hundred kills while bundles are switched.

    python benchmarks/endurance.py [day] [unplug] [microphone] [switch] [--out FOLDER]

Each part leaves its figures in FOLDER (build/endurance) and is not repeated while they are there; delete the file to
have it anew. docs/endurance.md is written from what is there, with the figures of benchmarks/fuzz.py.

    day         24 hours through the real daemon, as fast as it goes: log, page, MQTT, metrics and health file on;
                memory and descriptors after every minute of sound, events compared with those of a bare pipeline
    unplug      a source that fails 100 times in the middle of sound; every event compared
    microphone  100 times: a real stream of PortAudio and ALSA stalls, its device is gone, and is there again
    switch      100 times kill -9 of a real daemon and of whoever installs and activates bundles at that moment

The sound is that of the demo recording, louder and softer, in the noise of a room: a minute of sound holds 25 seconds
of speech at a moment of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import endurance_document
import numpy as np
import soundfile
from numpy.typing import NDArray

from edge.bundle import default_bundle_path, load_bundle
from edge.capture import CaptureSwitch
from edge.clips import Clips
from edge.config import demo_path
from edge.daemon import Daemon
from edge.errors import BundleError, SourceError
from edge.events import Detection
from edge.health import HealthFile
from edge.history import Event, History, read_events
from edge.leds import LedSettings, open_lights
from edge.metrics import MetricsObserver, MetricsSettings
from edge.mqtt import MqttObserver, MqttSettings
from edge.mute import Mute
from edge.observers import Health, Observer, Phase
from edge.pipeline import Pipeline
from edge.sources import SAMPLE_RATE_HZ, Block, MicrophoneSource
from edge.store import Store
from edge.web.page import Page
from edge.web.settings import WebSettings

ROOT: Final = Path(__file__).parent.parent
OUT: Final = ROOT / "build" / "endurance"
DOCUMENT: Final = ROOT / "docs" / "endurance.md"
SEED: Final = 24
HOURS: Final = 24
N_CYCLES: Final = 100
MINUTE: Final = 60 * SAMPLE_RATE_HZ
BLOCK: Final = SAMPLE_RATE_HZ // 50
"""20 ms, as the daemon has them unless told otherwise; sound is cut at multiples of it."""
LONG_BLOCK: Final = SAMPLE_RATE_HZ
"""The longest that the configuration allows; all but one minute of 24 come in these: the answer is the same, sooner."""
CHECKED_MINUTES: Final = 180
"""So much of the day is computed a second time, by a bare pipeline."""
PATIENCE_S: Final = 120.0

Float32 = NDArray[np.float32]
Heard = tuple[float, float, str, tuple[float, ...]]
"""What an event must agree in: its place, its emotion, and the share of each."""


# --- sound, and the time it takes


class Room:
    """Minutes of sound, each a function of its number. The same memory holds one after the other."""

    def __init__(self, seed: int = SEED) -> None:
        self._seed = seed
        self._speech: Float32 = soundfile.read(demo_path(), dtype="float32")[0]
        noise = np.random.default_rng(seed).standard_normal(MINUTE + SAMPLE_RATE_HZ, np.float32)
        self._noise: Float32 = noise * np.float32(10 ** (-70 / 20))
        self._minute: Float32 = np.zeros(MINUTE, np.float32)

    def minute(self, number: int) -> Float32:
        """Shape `(MINUTE,)`, good until the next one is asked for."""
        rng = np.random.default_rng([self._seed, number])
        offset = int(rng.integers(SAMPLE_RATE_HZ))
        self._minute[:] = self._noise[offset : offset + MINUTE]
        start = int(rng.integers(MINUTE - len(self._speech)))
        gain = np.float32(10 ** (rng.uniform(-18, 0) / 20))
        self._minute[start : start + len(self._speech)] += gain * self._speech
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


# --- 24 hours


def day(folder: Path, out: Path) -> dict[str, Any]:
    n_minutes = round(HOURS * 60)
    clock, room, n_scraped = SoundClock(HOURS), Room(), 0
    began_s = time.monotonic()
    watcher, metrics_port, page_port = Watcher(), free_port(), free_port()
    mute = Mute(folder / "mute")
    # the runtime folder of a board is memory, too
    with broker(folder) as (mqtt, told), tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        memory = Path(name)
        helpers = children()
        observers = [
            watcher,
            HealthFile(memory / "health.json"),
            MetricsObserver(MetricsSettings(enabled=True, port=metrics_port), node="endurance"),
            Page(
                WebSettings(enabled=True, port=page_port),
                node="endurance",
                state=folder,
                history=folder / "history.db",
                mute=mute,
                capture=CaptureSwitch(folder / "capture"),
                clips=Clips(folder / "clips"),
                bundle=None,
                colours={},
            ),
        ]
        if mqtt:
            observers.append(MqttObserver(MqttSettings(enabled=True, host="127.0.0.1", port=mqtt), node="x", mute=mute))
        series = (out / "day.jsonl").open("w")

        def at_minute(number: int) -> None:
            nonlocal n_scraped
            if number % 10 == 5:
                url = f"http://127.0.0.1:{metrics_port}/metrics"
                n_scraped += b"tonelight_segments_total" in urllib.request.urlopen(url, timeout=PATIENCE_S).read()
            sample = {"minute": number, "wall_s": round(time.monotonic() - began_s, 1), **held()}
            sample["page_rss"] = sum(held(pid)["rss"] for pid in children() if pid not in helpers)
            sample["n_events"] = watcher.n_events
            print(json.dumps(sample), file=series, flush=True)  # not into memory, which is what is measured
            if number % 60 == 0:
                say(f"day: hour {number // 60}, {sample['rss'] / 1e6:.1f} MB, {watcher.n_events} events")

        source = Played(room, clock, 0, n_minutes * MINUTE // BLOCK, True, at_minute)
        daemon = build(folder, clock, lambda: source, observers, threading.Event())
        daemon_s = time.monotonic()
        totals = daemon.run()
        daemon_s = time.monotonic() - daemon_s
        n_told = told(totals.n_detections)
    series.close()
    say("day: computing what a bare pipeline hears")
    n_checked = min(n_minutes, CHECKED_MINUTES)
    # without the last event: here the sound ends, there it went on
    wanted = expected([(0, n_checked * MINUTE // BLOCK)])[:-1]
    logged = list(read_events(folder / "history.db"))
    starts = {int(event.start_s // 60) for event in logged}
    samples = [json.loads(line) for line in (out / "day.jsonl").read_text().splitlines()]
    first, hour, last = samples[1], samples[min(60, len(samples) - 1)], samples[-1]
    return {
        "hours": HOURS,
        "wall_s": daemon_s,
        "n_blocks": totals.n_blocks,
        "n_events": totals.n_detections,
        "n_logged": len(logged),
        "n_observed": watcher.n_events,
        "n_minutes_without": n_minutes - len(starts),
        "n_checked_minutes": n_checked,
        "n_wanted": len(wanted),
        "n_differing": n_differing(logged[: len(wanted)], wanted),
        "n_mqtt": n_told if mqtt else None,
        "n_scraped": n_scraped,
        "rss_first": first["rss"],
        "rss_hour": hour["rss"],
        "rss_last": last["rss"],
        "rss_most": max(sample["rss"] for sample in samples),
        "anon_first": first["anon"],
        "anon_hour": hour["anon"],
        "anon_last": last["anon"],
        "page_hour": hour["page_rss"],
        "page_last": last["page_rss"],
        "fds_first": first["fds"],
        "fds_last": last["fds"],
        "fds_most": max(sample["fds"] for sample in samples),
        "threads_first": first["threads"],
        "threads_last": last["threads"],
    }


class broker:
    """Mosquitto, where it is installed, and somebody who counts the events it is told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> tuple[int, Callable[[int], int]]:
        found = shutil.which("mosquitto", path=f"/usr/sbin:{os.environ['PATH']}")
        if not found or not shutil.which("mosquitto_sub"):
            return 0, lambda n: 0
        port, config, events = free_port(), self._folder / "mosquitto.conf", self._folder / "events.txt"
        config.write_text(f"user {os.environ.get('USER', 'root')}\nlistener {port} 127.0.0.1\nallow_anonymous true\n")
        self._start([found, "-c", str(config)], subprocess.DEVNULL)
        while subprocess.run(["mosquitto_pub", "-p", str(port), "-t", "a", "-n"], stderr=subprocess.DEVNULL).returncode:
            time.sleep(0.1)
        with events.open("wb") as out:
            self._start(["mosquitto_sub", "-p", str(port), "-q", "1", "-t", "tonelight/+/event"], out)
        time.sleep(1.0)

        def told(n_wanted: int) -> int:
            end_s = time.monotonic() + 10.0
            while (n := events.read_bytes().count(b"\n")) < n_wanted and time.monotonic() < end_s:
                time.sleep(0.2)
            return n

        return port, told

    def _start(self, command: list[str], out: Any) -> None:
        self._processes.append(subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL))

    def __exit__(self, *exception: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait()


# --- a microphone that is pulled out


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


# --- killed while bundles are switched

PROCESSES: Final = multiprocessing.get_context("forkserver")


def change(store: Store, sources: list[Path], seed: int, told: Connection) -> None:
    """Install and activate for ever, and tell of every switch."""
    rng = random.Random(seed)
    while True:
        try:
            if rng.random() < 0.5:
                store.install(rng.choice(sources), allow_downgrade=True)
            else:
                store.activate(rng.choice(store.installed()), allow_downgrade=True)
        except BundleError as error:
            if "right now" not in str(error):  # the daemon counts its start at this moment
                raise
        else:
            told.send(store.active)


def listen(folder: Path, environ: Mapping[str, str]) -> None:
    """`tonelight run`, in a process that has loaded what it needs."""
    from edge.cli import main

    os.environ.update(environ)
    os.environ.pop("NOTIFY_SOCKET", None)
    errors = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 2)
    main(["run", "--config", str(folder / "etc" / "config.toml"), "--source", str(folder / "talk.wav")])


def switch(folder: Path, out: Path) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT / "tests" / "edge"))
    from signals import talk
    from signed import Maker

    rng = random.Random(SEED)
    maker = Maker(folder)
    store = Store(folder / "state" / "models", folder / "etc" / "keys")
    store.keys.mkdir(parents=True)
    shutil.copy(maker.public, store.keys)
    sources = [maker.make(f"1.{minor}.0") for minor in range(4)]
    store.install(sources[0])
    store.mark_good("test-1.0.0")
    (folder / "etc" / "config.toml").write_text('[leds]\nkind = "none"\n')
    soundfile.write(folder / "talk.wav", np.tile(talk(), 100), SAMPLE_RATE_HZ)
    environ = {
        "STATE_DIRECTORY": str(store.folder.parent),
        "CONFIGURATION_DIRECTORY": str(folder / "etc"),
        "RUNTIME_DIRECTORY": str(folder / "run"),
        "XDG_CONFIG_HOME": str(folder / "nothing"),
    }
    PROCESSES.set_forkserver_preload(["edge.commands.run", "ai_edge_litert.interpreter", "soundfile"])
    n_switched, n_listened, n_given_up = 0, 0, 0
    faults: list[str] = []
    ids = set()
    for cycle in range(N_CYCLES):
        (folder / "stderr").write_bytes(b"")
        told, child = PROCESSES.Pipe(duplex=False)
        daemon = PROCESSES.Process(target=listen, args=(folder, environ))
        daemon.start()
        if cycle % 2:
            n_listened += await_words(folder / "stderr", b"listening to", daemon)
        changer = PROCESSES.Process(target=change, args=(store, sources, cycle, child))
        changer.start()
        child.close()
        told.recv()
        n_switched += 1
        time.sleep(rng.uniform(0.0, 0.5))
        victims = [daemon, changer]
        rng.shuffle(victims)
        for process in victims:
            process.kill()
        for process in victims:
            process.join()
        while told.poll():
            try:
                told.recv()
                n_switched += 1
            except EOFError:
                break
        said = (folder / "stderr").read_bytes()
        n_given_up += b"did not get through" in said
        # the one complaint there may be: that a bundle was killed too often
        errors = [line for line in said.splitlines() if b"ERROR" in line and b"did not get through" not in line]
        if daemon.exitcode != -signal.SIGKILL or b"Traceback" in said or errors:
            faults.append(f"{cycle}: {said.decode(errors='replace')[-500:]}")
        try:
            store.verify(store.path(store.active))
            for name in store.installed():
                load_bundle(store.path(name))
        except BundleError as error:
            faults.append(f"{cycle}: {error}")
        ids.add(store.active)
        if cycle % 10 == 9:
            say(f"switch: {cycle + 1} of {N_CYCLES} kills, {n_switched} switches, {len(faults)} faults {faults[:1]}")
    return {
        "n_kills": N_CYCLES,
        "n_switched": n_switched,
        "n_listened": n_listened,
        "n_given_up": n_given_up,
        "n_bundles": len(ids),
        "faults": faults,
    }


def await_words(path: Path, words: bytes, process: multiprocessing.process.BaseProcess) -> bool:
    """Whether they came before the process ended."""
    end_s = time.monotonic() + PATIENCE_S
    while words not in path.read_bytes():
        if not process.is_alive() or time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True


# --- by hand


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def say(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S}  {text}", flush=True)


PARTS: Final[Mapping[str, Callable[[Path, Path], dict[str, Any]]]] = {
    "day": day,
    "unplug": unplug,
    "microphone": microphone,
    "switch": switch,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="*", help=f"one of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for part in args.part or PARTS:
        result = args.out / f"{part}.json"
        if result.exists():
            say(f"{part}: done before, see {result}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[part](Path(folder), args.out)
        machine = f"{platform.machine()}, Python {platform.python_version()}"
        result.write_text(json.dumps({"date": f"{datetime.now(timezone.utc):%Y-%m-%d}", "machine": machine} | found))
        say(f"{part}: {found}")
    endurance_document.write(args.out, DOCUMENT)


if __name__ == "__main__":
    main()
