"""Is a corpus whole? Decodes every recording; names each that is missing, broken, too short, silent or a copy."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from train_host.corpora.clip import FOREIGN_SUFFIXES, Clip, Corpus, Problem
from train_host.corpora.find import missing_names
from train_host.corpora.known import KNOWN

MIN_SECONDS: Final = 0.3
_SILENT_PEAK: Final = 1e-3  # -60 dBFS: nothing a microphone would call speech
_FEW: Final = 200  # starting processes takes longer than reading this many clips


@dataclass(frozen=True)
class Report:
    """What `verify` found. `notes` are known of the original release and no fault of this copy.

    `duplicates` are groups of clips with the same audio. Splits know those of the original releases only: of all
    others, all but one are to be taken out.
    """

    corpus: Corpus
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    duplicates: tuple[tuple[Path, ...], ...]
    seconds: float


@dataclass(frozen=True)
class _Checked:
    path: Path
    seconds: float = 0.0
    digest: str = ""
    problem: Problem | None = None


def verify(corpus: Corpus, on_clip: Callable[[], None] = lambda: None, n_processes: int | None = None) -> Report:
    """Reads every clip of `corpus`, in `n_processes` (all cores unless told), and calls `on_clip` after each."""
    problems = list(corpus.problems)
    notes: list[Problem] = []
    by_digest: dict[str, list[Clip]] = {}
    seconds = 0.0
    for clip, checked in zip(corpus.clips, _check_all([c.path for c in corpus.clips], n_processes), strict=True):
        on_clip()
        seconds += checked.seconds
        if checked.problem:
            problems.append(checked.problem)
        elif clip.seconds and abs(clip.seconds - checked.seconds) > 0.05 + 0.01 * clip.seconds:
            said = f"listed with {clip.seconds:.2f} s, holds {checked.seconds:.2f} s"
            problems.append(Problem("length", clip.path, said))
        if checked.digest:
            by_digest.setdefault(checked.digest, []).append(clip)
    groups = [clips for clips in by_digest.values() if len(clips) > 1]
    for first, *others in groups:
        for other in others:
            kind = notes if _are_twins(corpus.name, first, other) else problems
            kind.append(_duplicate(first, other, corpus.root))
    problems += [Problem("missing", None, f"{name}: not here") for name in missing_names(corpus)]
    problems += _count(corpus)
    groups_of_paths = tuple(tuple(clip.path for clip in clips) for clips in groups)
    return Report(corpus, tuple(problems), tuple(notes), groups_of_paths, seconds)


def _check_all(paths: list[Path], n_processes: int | None) -> Iterator[_Checked]:
    n_processes = n_processes or (os.cpu_count() or 1 if len(paths) > _FEW else 1)
    if n_processes == 1:
        yield from map(_check, paths)
        return
    # spawned, not forked: a progress bar has a thread, and a fork would copy its locks in whatever state they are
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        yield from pool.map(_check, paths, chunksize=32)


def _check(path: Path) -> _Checked:
    if not path.is_file():
        return _Checked(path, problem=Problem("missing", path, "listed, but not there"))
    if path.suffix.lower() in FOREIGN_SUFFIXES:
        return _Checked(path, problem=Problem("unreadable", path, f"{path.suffix} is not read here; convert it to WAV"))
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        said = str(error).rsplit(": ", 1)[-1]
        return _Checked(path, problem=Problem("unreadable", path, f"{said} Restore it from the original"))
    seconds = len(samples) / rate_hz
    peak = float(np.abs(samples).max(initial=0.0))
    problem = None
    if seconds < MIN_SECONDS:
        problem = Problem("too short", path, f"{seconds:.2f} s, less than {MIN_SECONDS} s")
    elif not np.isfinite(samples).all():
        problem = Problem("unreadable", path, "holds samples that are no numbers (NaN or infinite)")
    elif peak < _SILENT_PEAK:
        problem = Problem("silent", path, f"nothing above {20 * np.log10(_SILENT_PEAK):.0f} dBFS in {seconds:.1f} s")
    # what is too short or silent is named once; it needs no second line as a copy of other silence
    digest = "" if problem else hashlib.sha256(f"{rate_hz} {samples.shape}".encode() + samples.tobytes()).hexdigest()
    return _Checked(path, seconds, digest, problem)


def _are_twins(name: str, first: Clip, second: Clip) -> bool:
    known = KNOWN.get(name)
    return known is not None and tuple(sorted((first.path.stem, second.path.stem))) in known.twins


def _duplicate(first: Clip, second: Clip, root: Path) -> Problem:
    differs = [
        f"{what} {getattr(first, what)} there, {getattr(second, what)} here"
        for what in ("emotion", "speaker")
        if getattr(first, what) != getattr(second, what)
    ]
    path = first.path.relative_to(root) if first.path.is_relative_to(root) else first.path
    text = f"same recording as {path}" + (f" ({'; '.join(differs)})" if differs else "")
    return Problem("duplicate", second.path, text)


def _count(corpus: Corpus) -> Iterable[Problem]:
    known = KNOWN.get(corpus.name)
    if known and corpus.n_published_found != known.n_published:
        text = f"{corpus.n_published_found} recordings found, {known.n_published} published"
        yield Problem("count", None, text)
