"""Recordings to the sequences a network trains on, cut and measured by the device's own front end.

Extraction runs in parallel and is kept in a cache, keyed by the settings and by every file's name and content: a second
run reads, also from another copy of the recordings, and an interrupted one goes on with the next part.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
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
from train_host import augment, field_augment, scenes
from train_host.corpora.clip import Clip
from train_host.corpora.noises import find_sounds, load_sounds
from train_host.errors import TrainingError
from train_host.golden import golden_signal
from train_host.recipes import Recipe
from train_host.recordings import read_recording
from train_host.workers import deaf_to_interrupts

MIN_MS = 400
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


def training_sounds(root: Path) -> Sounds:
    """Those of the noise manifest in `root` that may train."""
    sounds = [sound for sound in find_sounds(root) if sound.is_free]
    return Sounds(load_sounds(sounds, "noise"), load_sounds(sounds, "rir"))


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
        self._contents: dict[Path, str] = {}
        self.failed: dict[Path, str] = {}
        self.n_drowned = 0

    def examples(
        self, clips: Sequence[Clip], view: int, on_progress: Callable[[int], None] = lambda n: None
    ) -> list[Example]:
        """Examples of `clips`: view 0 as they are, any other augmented, each clip and view by a chance of its own.

        Calls `on_progress` with the number of clips done since the last call. Raises TrainingError where a worker
        process was ended from outside.
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
        cached = [_load(path) for path in paths]
        missing = [(part, path) for part, path, one in zip(parts, paths, cached, strict=True) if one is None]
        on_progress(sum(len(part) for part in parts) - sum(len(part) for part, _ in missing))
        tasks = [([(clip.path, view) for clip in part], path) for part, path in missing]
        examples = []
        # closed here: what interrupts the end of the processes would be lost where a generator is merely forgotten
        with closing(self._extract(_features, tasks, on_progress)) as extracted:
            for part, one in zip(parts, cached, strict=True):
                examples += self._examples(part, one or next(extracted), view)
        return examples

    def scenes(self, on_progress: Callable[[int], None] = lambda n: None) -> list[NDArray[np.float16]]:
        """Features of the recipe's scenes in which nobody speaks: whatever the gate opened on."""
        n_scenes = self._recipe.training.n_scenes
        self._cache.mkdir(parents=True, exist_ok=True)
        settings = [
            *(msgspec.to_builtins(config) for config in (self._recipe.features, self._recipe.gate)),
            self._fingerprint,
            n_scenes,
            [inspect.getsource(module) for module in (scenes, augment)],
            [_digest(self._sounds.noises), _digest(self._sounds.rooms)],
        ]
        path = self._cache / f"{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]}.npz"
        found = _load(path)
        if found is None:
            (found,) = self._extract(_scene, [(list(range(n_scenes)), path)], on_progress)
        else:
            on_progress(n_scenes)
        ends = np.cumsum(found.lengths).tolist()
        return [found.rows[end - n : end] for end, n in zip(ends, found.lengths.tolist(), strict=True)]

    def _extract(
        self,
        function: Callable[..., tuple[list[NDArray[np.float16]], str]],
        missing: Sequence[tuple[list, Path]],
        on_progress: Callable[[int], None],
    ) -> Generator[_Part, None, None]:
        # "spawn": TensorFlow's threads do not survive a fork
        with ProcessPoolExecutor(
            self._n_processes,
            get_context("spawn"),
            _start_worker,
            (self._recipe.features, self._recipe.gate, self._sounds, self._recipe.training.changes),
        ) as workers:
            try:
                for tasks, path in missing:
                    results = []
                    with deaf_to_interrupts():
                        answers = workers.map(function, tasks, chunksize=16)
                    for answer in answers:
                        results.append(answer)
                        on_progress(1)
                    found = _joined(results, self._recipe.features.n_features)
                    _save(path, found)
                    yield found
            except BrokenProcessPool:
                raise TrainingError(
                    "a process that computes features was ended from outside (out of memory?); the same command goes "
                    "on where it stood"
                ) from None

    def _examples(self, part: list[Clip], found: _Part, view: int) -> list[Example]:
        reasons = {part[index].path: reason for index, reason in found.reasons.items()}
        if view:
            self.n_drowned += len(reasons.keys() - self.failed.keys())
        else:
            self.failed |= reasons
        ends = np.cumsum(found.lengths)
        return [
            Example(found.rows[end - length : end], part[owner])
            for end, length, owner in zip(ends.tolist(), found.lengths.tolist(), found.owners.tolist(), strict=True)
        ]

    @cached_property
    def _fingerprint(self) -> int:
        """What the signal code makes of known sounds: other code that cuts or measures differently, other features."""
        front_end = FrontEnd(self._recipe.features, self._recipe.gate, CHUNK_FRAMES)
        voice = golden_signal().astype(np.float32) / 32768
        hiss = augment.coloured_noise(len(voice), -3.0, np.random.default_rng(0))
        sounds = (
            voice,
            voice * np.float32(0.02) + np.float32(0.01),
            voice + np.float32(0.02) * hiss,
            hiss[::-1] * voice[::-1],
        )
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
            if self._recipe.training.changes != "everything":
                settings.append([inspect.getsource(field_augment), self._recipe.training.changes])
        settings += [[clip.corpus, clip.path.name, self._content(clip.path)] for clip in part]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]

    def _content(self, path: Path) -> str:
        """Digest of a recording, read once for all views; empty where it cannot be read."""
        if path not in self._contents:
            try:
                self._contents[path] = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
            except OSError:
                self._contents[path] = ""
        return self._contents[path]


def _digest(sounds: Iterable[NDArray[np.float32]]) -> list[int]:
    return [zlib.crc32(sound.tobytes()) for sound in sounds]


@dataclass(frozen=True)
class _Part:
    """What one file of the cache holds: the segments one after the other, and which clip each belongs to."""

    rows: NDArray[np.float16]
    lengths: NDArray[np.int64]
    owners: NDArray[np.int64]
    reasons: dict[int, str]


def _joined(results: list[tuple[list[NDArray[np.float16]], str]], n_features: int) -> _Part:
    segments = [segment for found, _ in results for segment in found]
    return _Part(
        rows=np.concatenate([np.zeros((0, n_features), np.float16), *segments]),
        lengths=np.array([len(segment) for segment in segments], np.int64),
        owners=np.array([i for i, (segments, _) in enumerate(results) for _ in segments], np.int64),
        reasons={i: reason for i, (_, reason) in enumerate(results) if reason},
    )


def _save(path: Path, part: _Part) -> None:
    # whole or not at all, also while another training writes the same
    temporary = path.with_suffix(f".{os.getpid()}.tmp.npz")
    try:
        np.savez(
            temporary,
            rows=part.rows,
            lengths=part.lengths,
            owners=part.owners,
            reasons=np.array(json.dumps(part.reasons)),
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _load(path: Path) -> _Part | None:
    """A file of the cache; None where there is none, or one that a failing disk has damaged: it is computed anew."""
    try:
        with np.load(path) as file:
            reasons = json.loads(str(file["reasons"]))
            return _Part(
                file["rows"], file["lengths"], file["owners"], {int(index): reason for index, reason in reasons.items()}
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


_front_end: FrontEnd
_sounds: Sounds
_changes: str


def _start_worker(features: FeatureConfig, gate: GateConfig, sounds: Sounds, changes: str) -> None:
    global _front_end, _sounds, _changes
    _front_end, _sounds, _changes = FrontEnd(features, gate, CHUNK_FRAMES), sounds, changes


def _features(task: tuple[Path, int]) -> tuple[list[NDArray[np.float16]], str]:
    path, view = task
    try:
        samples = read_recording(path)
    except AudioError as error:
        return [], str(error)
    if view:
        rng = np.random.default_rng([zlib.crc32(path.name.encode()), view])
        if _changes == "everything":
            samples = augment.Augmenter(_sounds.noises, _sounds.rooms, rng)(samples)
        else:
            voices = _changes == "noise_pitch_speed"
            samples = field_augment.FieldAugmenter(_sounds.noises, rng, voices=voices)(samples)
    segments = _front_end.segments(samples)
    if not segments:
        return [], "no speech found"
    return _kept(segments), ""


def _scene(number: int) -> tuple[list[NDArray[np.float16]], str]:
    sound = scenes.scene(_sounds.noises, _sounds.rooms, np.random.default_rng(number))
    segments = _front_end.segments(sound)
    return (_kept(segments) if segments else []), ""


def _kept(segments: list[NDArray[np.float32]]) -> list[NDArray[np.float16]]:
    longest = max(len(segment) for segment in segments)
    least = min(round(MIN_MS / _front_end.config.hop_ms), longest)
    kept = [segment for segment in segments if len(segment) >= least]
    # float16 has 3 digits for logarithms between -12 and 12: finer than any recording
    return [segment.astype(np.float16) for segment in kept]
