"""What a second of sound costs on this machine, and what the daemon needs besides.

CPU time is measured, not time on the clock, so that other programs count little: what is compared runs in turns, round
by round, and the median counts. The parts of the path are given nothing but speech, the whole path a recording with
its pauses, in the blocks a microphone delivers. Memory and start-up are those of a real daemon in a process of its own.
"""

from __future__ import annotations

import os
import platform
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import __version__
from edge.bundle import Bundle
from edge.classifier import Classifier, load_runtime
from edge.config import demo_path
from edge.errors import TonelightError
from edge.events import Detection
from edge.features import FeatureExtractor
from edge.framing import Framer, OffsetRemover, level_db
from edge.gate import Gate
from edge.normalize import Normalizer
from edge.pipeline import Pipeline
from edge.ring import Ring
from edge.sources import SAMPLE_RATE_HZ, FileSource
from edge.sources.libraries import quiet_stderr

Float32 = NDArray[np.float32]

BLOCK_MS: Final = 20
LISTENED_S: Final = 3.0
"""How long the daemon has listened when its memory is looked at."""
PATIENCE_S: Final = 60.0
"""A daemon that is not ready by then will not be."""
_RATE_HZ, _CHANNELS = 48_000, 2  # of the microphone whose callback is timed: what USB microphones usually have
_N_CALLBACKS: Final = 500


class Figure(msgspec.Struct, frozen=True):
    """One result: what was measured, in words, how much it is, and of what."""

    what: str
    value: float
    unit: str


def examine(bundle: Bundle, samples: Float32, n_rounds: int = 5) -> dict[str, Figure]:
    """Every figure by its name, for `samples` `(n,)` with speech in it.

    Raises:
        BundleError: the model cannot be run.
        TonelightError: the daemon does not start.
    """
    with quiet_stderr():  # the runtime announces itself there
        return {**_path(bundle, samples, n_rounds), **_latencies(bundle, samples, n_rounds), **_daemon(bundle)}


def machine() -> dict[str, str]:
    """What all this was measured on."""
    model = Path("/proc/device-tree/model")
    names = [line.partition(": ")[2] for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    name = model.read_text(errors="replace").rstrip("\0\n") if model.exists() else (names or ["unknown processor"])[0]
    return {
        "machine": f"{name}, {os.cpu_count()} cores, {platform.machine()}",
        "load": f"{os.getloadavg()[0]:.1f}",
        "tonelight": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "runtime": load_runtime()[1],
    }


def interleaved(tasks: Mapping[str, Callable[[], object]], n_rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each task, round by round: all of them in turn, so that a busy moment strikes them alike.

    Each is run once before it counts.
    """
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(n_rounds):
        for name, task in tasks.items():
            began_s = time.process_time()
            task()
            taken[name].append(time.process_time() - began_s)
    return taken


def demo() -> Float32:
    """The recording that comes along, `(n,)`.

    Raises:
        AudioError: it cannot be read.
    """
    with FileSource(demo_path(), 1000) as source:
        return np.concatenate([block.samples for block in iter(source.read, None)])


def blocks(samples: Float32, block_ms: float = BLOCK_MS) -> Iterator[Float32]:
    """`samples` as a microphone delivers them."""
    length = round(SAMPLE_RATE_HZ * block_ms / 1000)
    for start in range(0, len(samples), length):
        yield samples[start : start + length]


def _path(bundle: Bundle, samples: Float32, n_rounds: int) -> dict[str, Figure]:
    """CPU time per second of audio, by part."""
    manifest = bundle.manifest
    features = manifest.features
    framer = Framer(features.window_length, features.hop_length)
    offset, gate = OffsetRemover(features.hop_ms), Gate(manifest.gate, features.hop_ms)
    extractor = FeatureExtractor(features)
    normalizer, classifier = Normalizer(manifest.normalizer, features.hop_ms), Classifier(bundle)
    pipeline = Pipeline(bundle)
    frames = offset.push(framer.push(samples))
    n = manifest.model.chunk_frames
    chunks = [frames[i : i + n] for i in range(0, len(frames) - n + 1, n)]
    rows = [extractor.compute(chunk) for chunk in chunks]
    silence = np.zeros_like(samples)

    def cut() -> None:
        for block in blocks(samples):
            for _ in gate.push(level_db(offset.push(framer.push(block))).tolist()):
                pass

    def compute() -> None:
        for chunk in chunks:
            extractor.compute(chunk)

    def infer() -> None:
        for row in rows:
            classifier.step(normalizer.push(row))

    def hear(heard: Float32) -> None:
        pipeline.reset()
        for block in blocks(heard):
            pipeline.push(block)
        pipeline.flush()

    taken = interleaved(
        {
            "gate": cut,
            "features": compute,
            "model": infer,
            "path": lambda: hear(samples),
            "rest": lambda: hear(silence),
        },
        n_rounds,
    )
    seconds = {name: len(samples) / SAMPLE_RATE_HZ for name in taken}
    seconds["features"] = seconds["model"] = len(chunks) * n * features.hop_ms / 1000
    ms = {name: 1000 * median(all_s) / seconds[name] for name, all_s in taken.items()}
    unit = "ms CPU per s of audio"
    return {
        "gate": Figure(f"framing and gate, blocks of {BLOCK_MS} ms", ms["gate"], unit),
        "features": Figure("features, nothing but speech", ms["features"], unit),
        "model": Figure("model, nothing but speech", ms["model"], unit),
        "model_half_second": Figure("model, its steps of half a second", ms["model"] / 2, "ms CPU"),
        "whole_path": Figure(f"whole path, blocks of {BLOCK_MS} ms", ms["path"], unit),
        "whole_path_silence": Figure("whole path while nobody speaks", ms["rest"], unit),
        "share_of_core": Figure("whole path, of one core", ms["path"] / 10, "%"),
    }


def _latencies(bundle: Bundle, samples: Float32, n_rounds: int) -> dict[str, Figure]:
    """How late an event is, and how long the audio callback takes in the worst case."""
    return {
        "event_after_hangover": Figure(
            "speech end to event beyond the hangover, worst", _event_ms(bundle, samples, n_rounds), "ms"
        ),
        "callback": Figure(f"audio callback, worst of {_N_CALLBACKS}", _callback_ms(bundle, samples), "ms"),
    }


def _event_ms(bundle: Bundle, samples: Float32, n_rounds: int) -> float:
    """From the end of the hangover until the event is there: the rest of the block it falls in, and the computing.

    The worst event of the recording, each as the median of the rounds.
    """
    gate = bundle.manifest.gate
    pipeline = Pipeline(bundle)
    late_ms: dict[float, list[float]] = {}
    for _ in range(n_rounds):
        pipeline.reset()
        n_arrived = 0
        for block in blocks(samples):
            n_arrived += len(block)
            began_s = time.perf_counter()
            events = pipeline.push(block)
            took_s = time.perf_counter() - began_s
            for event in events:
                # what was cut for its length waited for no silence
                if isinstance(event, Detection) and event.end_s - event.start_s < gate.max_segment_s - 0.5:
                    due_s = event.end_s + gate.hangover_ms / 1000
                    late_ms.setdefault(event.end_s, []).append(1000 * (n_arrived / SAMPLE_RATE_HZ - due_s + took_s))
    if not late_ms:
        raise TonelightError(f"bundle {bundle.id} hears no speech in the demo recording; try another bundle")
    return max(median(rounds) for rounds in late_ms.values())


def _callback_ms(bundle: Bundle, samples: Float32) -> float:
    """The longest that a block of the microphone took into the ring while the loop was as busy as it can be."""
    ring = Ring(5 * _RATE_HZ, _CHANNELS)
    rows = np.zeros((_RATE_HZ * BLOCK_MS // 1000, _CHANNELS), np.float32)
    longest_s = 0.0
    is_over = threading.Event()

    def write() -> None:
        nonlocal longest_s
        for _ in range(_N_CALLBACKS):
            began_s = time.perf_counter()
            # lets go of the interpreter: the driver's thread comes without it, and has to wait for its turn
            select.select([], [], [], 0)
            ring.write(rows)
            longest_s = max(longest_s, time.perf_counter() - began_s)
            time.sleep(0.001)
        is_over.set()

    pipeline = Pipeline(bundle)
    writer = threading.Thread(target=write)
    writer.start()
    while not is_over.is_set():
        for block in blocks(samples):
            ring.read(len(rows), 0.0)
            pipeline.push(block)
            if is_over.is_set():
                break
    writer.join()
    return 1000 * longest_s


def _daemon(bundle: Bundle) -> dict[str, Figure]:
    """Start-up and memory of a daemon that plays the demo recording, without a light."""
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        folder = Path(name)
        (folder / "config.toml").write_text('[leds]\nkind = "none"\n')
        notified.bind(str(folder / "notify"))
        command = [sys.executable, "-m", "edge", "run", "--config", str(folder / "config.toml")]
        command += ["--source", str(demo_path()), "--bundle", str(bundle.path.absolute())]
        environment = {
            **os.environ,
            "STATE_DIRECTORY": str(folder / "state"),
            "RUNTIME_DIRECTORY": str(folder / "run"),
            "NOTIFY_SOCKET": str(folder / "notify"),
        }
        began_s = time.monotonic()
        with (folder / "said").open("w+") as said:
            daemon = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
            try:
                _wait_for_ready(daemon, notified, folder / "said")
                ready_s, cpu_s = time.monotonic() - began_s, _cpu_s(daemon.pid)
                time.sleep(LISTENED_S)
                memory_mb = _memory_mb(daemon.pid)
            finally:
                daemon.send_signal(signal.SIGTERM)
                daemon.wait()
    return {
        "start": Figure("daemon, from its start to ready", ready_s, "s"),
        "start_cpu": Figure("the same in CPU time", cpu_s, "s CPU"),
        "memory": Figure("daemon, resident memory", memory_mb, "MB"),
    }


def _wait_for_ready(daemon: subprocess.Popen[bytes], notified: socket.socket, said: Path) -> None:
    """Raises TonelightError where it ends instead, or is never ready."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s and daemon.poll() is None:
        if select.select([notified], [], [], 0.1)[0] and b"READY=1" in notified.recv(4096):
            return
    words = (said.read_text(errors="replace").strip().splitlines() or [f"it is not ready after {PATIENCE_S:g} s"])[-1]
    raise TonelightError(f"the daemon cannot be measured: {words}; see `tonelight doctor`")


def _cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    """Resident memory of a process in megabytes (10^6 bytes)."""
    kib = next(line.split()[1] for line in _lines(Path(f"/proc/{pid}/status")) if line.startswith("VmRSS"))
    return int(kib) * 1024 / 1e6


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").split("\n") if path.exists() else []
