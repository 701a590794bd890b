"""What a second of sound costs on this machine, and what the daemon needs besides.

CPU time is measured, not time on the clock, so that other programs count little: what is compared runs in turns, round
by round, and the median counts. Features and model are given nothing but speech, the rest of the path a recording with
its pauses, in the blocks a microphone delivers. Memory, start-up and the cost of all that surrounds the path are those
of a real daemon in a process of its own.
"""

from __future__ import annotations

import os
import platform
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import __version__
from edge.bundle import Bundle, default_bundle_path
from edge.classifier import Classifier, load_runtime
from edge.config import AudioSettings, demo_path
from edge.errors import TonelightError
from edge.events import Detection
from edge.features import FeatureExtractor
from edge.framing import Framer, OffsetRemover
from edge.frontend import FrontEnd
from edge.normalize import Normalizer
from edge.pipeline import Pipeline
from edge.ring import Ring
from edge.sources import SAMPLE_RATE_HZ, FileSource, MicrophoneSource
from edge.sources.blocks import Blocks, Stillness
from edge.sources.libraries import quiet_stderr

Float32 = NDArray[np.float32]

BLOCK_MS: Final = AudioSettings().block_ms
LISTENED_S: Final = 3.0
"""How long the daemon has listened when its memory is looked at."""
HEARD_S: Final = 20.0
"""How much of the demo recording the last daemon hears after that, for its CPU time."""
PATIENCE_S: Final = 60.0
"""A daemon that is not ready by then will not be."""
_RATE_HZ, _CHANNELS = 48_000, 2  # of the microphone that is measured: what USB microphones usually have
_BLOCK_ROWS: Final = _RATE_HZ * BLOCK_MS // 1000
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
        found = {**_path(bundle, samples, n_rounds), **_latencies(bundle, samples)}
        found |= _daemon(bundle, n_rounds)
    size_mb = footprint_mb()
    if size_mb is not None:
        found["footprint"] = Figure("installed size of the device side", size_mb, "MB")
    return found


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


def footprint_mb() -> float | None:
    """Megabytes of tonelight's device side and all that it needs, without compiled Python; None if not installed.

    Counted from the files of the installed distributions, so that what else is installed does not matter. What is
    required on other machines only is not installed on this one.
    """
    paths: set[Path] = set()
    seen, waiting = set(), ["tonelight"]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        paths |= {Path(str(found.locate_file(file))) for file in found.files or []}
        needed = [one for one in found.requires or [] if not re.search(r";.*\bextra\b", one)]
        waiting += [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in needed]
    if not paths:
        return None
    # installed for development it is only linked, and the bundle lies beside it
    for folder in (Path(__file__).parent, default_bundle_path()):
        paths |= set(folder.rglob("*"))
    return sum(path.stat().st_size for path in paths if path.is_file() and path.suffix != ".pyc") / 1e6


def _path(bundle: Bundle, samples: Float32, n_rounds: int) -> dict[str, Figure]:
    """CPU time per second of audio, by part."""
    manifest = bundle.manifest
    features = manifest.features
    # cuts speech out as the front end of the pipeline does, and computes next to nothing of it
    front_end = FrontEnd(
        msgspec.structs.replace(features, columns=("rms",), level_memory_s=0.0),
        manifest.gate,
        manifest.model.chunk_frames,
    )
    extractor = FeatureExtractor(features)
    normalizer, classifier = Normalizer(manifest.normalizer, features.hop_ms), Classifier(bundle)
    pipeline = Pipeline(bundle)
    framer, offset = Framer(features.window_length, features.hop_length), OffsetRemover(features.hop_ms)
    frames, _ = offset.push(framer.push(samples))
    n = manifest.model.chunk_frames
    chunks = [frames[i : i + n] for i in range(0, len(frames) - n + 1, n)]
    rows = [extractor.compute(chunk) for chunk in chunks]
    silence = np.zeros_like(samples)
    microphone = _Microphone()
    # two channels that are not quite the same; a sample three times is as good as any other sound of 48 kHz
    stereo = np.repeat(np.stack([samples, 0.5 * samples], axis=1), _RATE_HZ // SAMPLE_RATE_HZ, axis=0)
    delivered = [stereo[i : i + _BLOCK_ROWS] for i in range(0, len(stereo) - _BLOCK_ROWS + 1, _BLOCK_ROWS)]

    def mix() -> None:
        for rows_48k in delivered:
            microphone.hear(rows_48k)

    def cut() -> None:
        front_end.reset()
        for block in blocks(samples):
            front_end.push(block)
        front_end.flush()

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

    front_end.reset()
    n_speech = sum(len(chunk.features) for chunk in [*front_end.push(samples), *front_end.flush()])
    taken = interleaved(
        {
            "microphone": mix,
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
        "microphone": Figure("microphone of 48 kHz, stereo, to 16 kHz, mono", ms["microphone"], unit),
        "gate": Figure(f"framing and gate, blocks of {BLOCK_MS} ms", ms["gate"], unit),
        "features": Figure("features, nothing but speech", ms["features"], unit),
        "model": Figure("model, nothing but speech", ms["model"], unit),
        "model_half_second": Figure("model, its steps of half a second", ms["model"] / 2, "ms CPU"),
        "whole_path": Figure(f"whole path, blocks of {BLOCK_MS} ms", ms["path"], unit),
        "whole_path_silence": Figure("whole path while nobody speaks", ms["rest"], unit),
        "share_of_core": Figure("whole path, of one core", ms["path"] / 10, "%"),
        "speech": Figure("speech in the recording, by the gate", 100 * n_speech / len(frames), "%"),
    }


class _Microphone(MicrophoneSource):
    """A microphone without PortAudio: what is written to its ring is checked, mixed and resampled as ever."""

    def __init__(self) -> None:
        self.name = "none"
        self.n_bad = 0
        self._blocks = Blocks(_RATE_HZ, BLOCK_MS)
        self._stillness = Stillness(_RATE_HZ)
        self._ring = Ring(self.KEPT_S * _RATE_HZ, _CHANNELS)
        self._read_rows = _BLOCK_ROWS
        self._waited_s = 0.0
        for _ in range(10):  # ahead of the reader, as the resampler holds some back
            self._ring.write(np.zeros((_BLOCK_ROWS, _CHANNELS), np.float32))

    def hear(self, rows: Float32) -> None:
        """Take `(_BLOCK_ROWS, _CHANNELS)` as the callback does, and read one block."""
        self._ring.write(rows)
        self.read(0.0)


def _latencies(bundle: Bundle, samples: Float32) -> dict[str, Figure]:
    """How late an event is, and how long the audio callback takes."""
    of = f"audio callback, of {_N_CALLBACKS}: "
    p50, p99, worst = np.quantile(_callbacks_ms(bundle, samples), (0.5, 0.99, 1.0)).tolist()
    return {
        "event_after_hangover": Figure(
            "speech end to event beyond the hangover, 95% are sooner than", _event_ms(bundle, samples, BLOCK_MS), "ms"
        ),
        "event_after_hangover_20": Figure("the same with `block_ms = 20`", _event_ms(bundle, samples, 20), "ms"),
        "callback_p50": Figure(of + "the one in the middle", p50, "ms"),
        "callback_p99": Figure(of + "99% are shorter than", p99, "ms"),
        "callback": Figure(of + "the longest", worst, "ms"),
    }


def _event_ms(bundle: Bundle, samples: Float32, block_ms: float) -> float:
    """From the end of the hangover until the event is there: the rest of the block it falls in, and the computing.

    Of all events of the recording 95% are sooner. It is heard from several places on, as the end of speech falls
    anywhere into a block.
    """
    gate = bundle.manifest.gate
    pipeline = Pipeline(bundle)
    late_ms: list[float] = []
    for start in range(0, round(SAMPLE_RATE_HZ * block_ms / 1000), SAMPLE_RATE_HZ // 200):
        pipeline.reset()
        n_arrived = 0
        for block in blocks(samples[start:], block_ms):
            n_arrived += len(block)
            began_s = time.perf_counter()
            events = pipeline.push(block)
            took_s = time.perf_counter() - began_s
            for event in events:
                # what was cut for its length waited for no silence
                if isinstance(event, Detection) and event.end_s - event.start_s < gate.max_segment_s - 0.5:
                    due_s = event.end_s + gate.hangover_ms / 1000
                    late_ms.append(1000 * (n_arrived / SAMPLE_RATE_HZ - due_s + took_s))
    if not late_ms:
        raise TonelightError(f"bundle {bundle.id} hears no speech in the demo recording; try another bundle")
    return float(np.quantile(late_ms, 0.95))


def _callbacks_ms(bundle: Bundle, samples: Float32) -> list[float]:
    """How long each block of the microphone took into the ring while the loop was as busy as it can be."""
    ring = Ring(5 * _RATE_HZ, _CHANNELS)
    rows = np.zeros((_BLOCK_ROWS, _CHANNELS), np.float32)
    taken_ms: list[float] = []
    is_over = threading.Event()

    def write() -> None:
        for _ in range(_N_CALLBACKS):
            began_s = time.perf_counter()
            # lets go of the interpreter: the driver's thread comes without it, and has to wait for its turn
            select.select([], [], [], 0)
            ring.write(rows)
            taken_ms.append(1000 * (time.perf_counter() - began_s))
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
    return taken_ms


class _Life(msgspec.Struct, frozen=True):
    """What one daemon took, in seconds, seconds of CPU and megabytes; `cpu_share` of a core once it had settled."""

    ready_s: float
    ready_cpu_s: float
    memory_mb: float
    cpu_share: float


def _daemon(bundle: Bundle, n_starts: int) -> dict[str, Figure]:
    """Cost, start-up and memory of a daemon: medians of `n_starts`, the last of which is left to hear on."""
    lives = [_live(bundle, HEARD_S if i == n_starts - 1 else 0.0) for i in range(n_starts)]
    ms = 1000 * lives[-1].cpu_share
    return {
        "daemon": Figure("whole daemon, which plays a recording", ms, "ms CPU per s of audio"),
        "daemon_share_of_core": Figure("whole daemon, of one core", ms / 10, "%"),
        "start": Figure("daemon, from its start to ready", median(life.ready_s for life in lives), "s"),
        "start_cpu": Figure("the same in CPU time", median(life.ready_cpu_s for life in lives), "s CPU"),
        "memory": Figure("daemon, resident memory", median(life.memory_mb for life in lives), "MB"),
    }


def _live(bundle: Bundle, heard_s: float) -> _Life:
    """A daemon that plays the demo recording, with its log and its health file and without a light.

    It is looked at after `LISTENED_S`; then its CPU time counts for `heard_s`.
    """
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
                ready_s, ready_cpu_s = time.monotonic() - began_s, _cpu_s(daemon.pid)
                time.sleep(LISTENED_S)
                memory_mb = _memory_mb(daemon.pid)
                cpu_share = 0.0
                if heard_s > 0:
                    from_s, from_cpu_s = time.monotonic(), _cpu_s(daemon.pid)
                    time.sleep(heard_s)
                    cpu_share = (_cpu_s(daemon.pid) - from_cpu_s) / (time.monotonic() - from_s)
            finally:
                daemon.send_signal(signal.SIGTERM)
                daemon.wait()
    return _Life(ready_s, ready_cpu_s, memory_mb, cpu_share)


def _wait_for_ready(daemon: subprocess.Popen[bytes], notified: socket.socket, said: Path) -> None:
    """Raises TonelightError where it ends instead, or is never ready."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s and daemon.poll() is None:
        if select.select([notified], [], [], 0.1)[0] and b"READY=1" in notified.recv(4096):
            return
    words = (said.read_text(errors="replace").strip().splitlines() or [f"it is not ready after {PATIENCE_S:g} s"])[-1]
    raise TonelightError(f"the daemon cannot be measured: {words}; see `tonelight doctor`")


def _cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, all of its threads.

    /proc counts in hundredths of a second, of which a daemon uses one in two seconds. Linux numbers the clock of
    another process so (`clock_getcpuclockid`).
    """
    return time.clock_gettime((~pid << 3) | 2)


def _memory_mb(pid: int) -> float:
    """Resident memory of a process in megabytes (10^6 bytes)."""
    kib = next(line.split()[1] for line in _lines(Path(f"/proc/{pid}/status")) if line.startswith("VmRSS"))
    return int(kib) * 1024 / 1e6


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").split("\n") if path.exists() else []
