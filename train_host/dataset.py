"""Recordings to the sequences a network trains on, cut and measured by the device's own front end.

Extraction runs in parallel and is kept in a cache, keyed by the settings and by every file's name, size and time: a
second run reads, and an interrupted one goes on with the next part.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
import platformdirs
from numpy.typing import NDArray

from edge.errors import AudioError
from edge.features import FeatureConfig
from edge.frontend import FrontEnd
from edge.gate import GateConfig
from train_host import augment
from train_host.corpora.clip import Clip
from train_host.golden import golden_signal
from train_host.recipes import Recipe
from train_host.recordings import read_recording

MIN_FRAMES = 40
"""Shorter segments of a clip (a cough before the sentence) train nothing, unless they are the longest it has."""
CHUNK_FRAMES = 32
"""Frames are measured in such groups; any number gives the same but for rounding."""
PART = 400
"""Clips in one file of the cache."""


@dataclass(frozen=True)
class Example:
    """One segment of a clip: features `(n_frames, n_features)`, float16, not normalised."""

    features: NDArray[np.float16]
    clip: Clip


@dataclass(frozen=True)
class Sounds:
    """What augmentation mixes in: mono float32 at 16 kHz."""

    noises: Sequence[NDArray[np.float32]]
    rooms: Sequence[NDArray[np.float32]]


class Extraction:
    """Features of clips under a recipe.

    `failed` collects the clips that gave none, each with the reason; `n_drowned` counts the augmented copies whose
    noise left no speech for the gate to find.
    """

    def __init__(
        self, recipe: Recipe, sounds: Sounds, cache: Path | None = None, n_processes: int | None = None
    ) -> None:
        self._recipe = recipe
        self._sounds = sounds
        self._cache = cache or Path(platformdirs.user_cache_dir("tonelight")) / "features"
        self._n_processes = n_processes
        self.failed: dict[Path, str] = {}
        self.n_drowned = 0

    def examples(
        self, clips: Sequence[Clip], view: int, on_progress: Callable[[int], None] = lambda n: None
    ) -> list[Example]:
        """Examples of `clips`: view 0 as they are, any other augmented, each clip and view by a chance of its own.

        Calls `on_progress` with the number of clips done since the last call.
        """
        self._cache.mkdir(parents=True, exist_ok=True)
        ordered = sorted(clips, key=lambda clip: (clip.corpus, clip.path))
        parts = [
            batch[i : i + PART]
            for _, group in groupby(ordered, key=lambda clip: clip.corpus)
            for batch in [list(group)]
            for i in range(0, len(batch), PART)
        ]
        paths = [self._cache / f"{self._key(part, view)}.npz" for part in parts]
        missing = [(part, path) for part, path in zip(parts, paths, strict=True) if not path.exists()]
        on_progress(sum(len(part) for part in parts) - sum(len(part) for part, _ in missing))
        if missing:
            self._extract(missing, view, on_progress)
        examples = []
        for part, path in zip(parts, paths, strict=True):
            examples += self._read(part, path, view)
        return examples

    def _extract(self, missing: list[tuple[list[Clip], Path]], view: int, on_progress: Callable[[int], None]) -> None:
        # "spawn": TensorFlow's threads do not survive a fork
        with ProcessPoolExecutor(
            self._n_processes,
            get_context("spawn"),
            _start_worker,
            (self._recipe.features, self._recipe.gate, self._sounds),
        ) as workers:
            for part, path in missing:
                results = []
                for result in workers.map(_features, [(clip.path, view) for clip in part], chunksize=16):
                    results.append(result)
                    on_progress(1)
                _write(path, results, self._recipe.features.n_features)

    def _read(self, part: list[Clip], path: Path, view: int) -> list[Example]:
        with np.load(path) as file:
            rows, lengths, owners = file["rows"], file["lengths"], file["owners"]
            reasons = json.loads(str(file["reasons"]))
        if view:
            self.n_drowned += len(reasons)
        else:
            self.failed |= {part[int(index)].path: reason for index, reason in reasons.items()}
        ends = np.cumsum(lengths)
        return [
            Example(rows[end - length : end], part[owner])
            for end, length, owner in zip(ends.tolist(), lengths.tolist(), owners.tolist(), strict=True)
        ]

    @cached_property
    def _fingerprint(self) -> int:
        """What the signal code makes of known sounds: other code that cuts or measures differently, other features."""
        front_end = FrontEnd(self._recipe.features, self._recipe.gate, CHUNK_FRAMES)
        voice = golden_signal().astype(np.float32) / 32768
        hiss = augment.coloured_noise(len(voice), -3.0, np.random.default_rng(0))
        sounds = (voice, voice * np.float32(0.02), voice + np.float32(0.02) * hiss, hiss[::-1] * voice[::-1])
        rows = [segment.round(4) for sound in sounds for segment in front_end.segments(sound)]
        return zlib.crc32(b"".join(row.tobytes() for row in rows))

    def _key(self, part: list[Clip], view: int) -> str:
        settings = [
            msgspec.to_builtins(self._recipe.features),
            msgspec.to_builtins(self._recipe.gate),
            view,
            self._fingerprint,
        ]
        if view:
            settings.append([inspect.getsource(augment), _digest(self._sounds.noises), _digest(self._sounds.rooms)])
        for clip in part:
            try:
                stat = clip.path.stat()
                settings.append([clip.corpus, clip.path.name, stat.st_size, stat.st_mtime_ns])
            except OSError:
                settings.append([clip.corpus, clip.path.name])
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]


def _digest(sounds: Iterable[NDArray[np.float32]]) -> list[int]:
    return [zlib.crc32(sound.tobytes()) for sound in sounds]


def _write(path: Path, results: list[tuple[list[NDArray[np.float16]], str]], n_features: int) -> None:
    owners = [i for i, (segments, _) in enumerate(results) for _ in segments]
    segments = [segment for found, _ in results for segment in found]
    temporary = path.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        rows=np.concatenate([np.zeros((0, n_features), np.float16), *segments]),
        lengths=np.array([len(segment) for segment in segments], np.int64),
        owners=np.array(owners, np.int64),
        reasons=np.array(json.dumps({i: reason for i, (_, reason) in enumerate(results) if reason})),
    )
    temporary.replace(path)


_front_end: FrontEnd
_sounds: Sounds


def _start_worker(features: FeatureConfig, gate: GateConfig, sounds: Sounds) -> None:
    global _front_end, _sounds
    _front_end, _sounds = FrontEnd(features, gate, CHUNK_FRAMES), sounds


def _features(task: tuple[Path, int]) -> tuple[list[NDArray[np.float16]], str]:
    path, view = task
    try:
        samples = read_recording(path)
    except AudioError as error:
        return [], str(error)
    if view:
        rng = np.random.default_rng([zlib.crc32(path.name.encode()), view])
        samples = augment.Augmenter(_sounds.noises, _sounds.rooms, rng)(samples)
    segments = _front_end.segments(samples)
    if not segments:
        return [], "no speech found"
    longest = max(len(segment) for segment in segments)
    kept = [segment for segment in segments if len(segment) >= min(MIN_FRAMES, longest)]
    # float16 has 3 digits for logarithms between -12 and 12: finer than any recording
    return [segment.astype(np.float16) for segment in kept], ""
