"""What an exported bundle says of recordings it is given: the device's own pipeline, run over a corpus."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle, load_bundle
from edge.errors import AudioError
from edge.events import Detection
from edge.labels import EMOTIONS
from edge.pipeline import FileResult, Pipeline, summarize
from train_host.corpora.clip import Clip
from train_host.errors import ExportError
from train_host.metrics import calibration_error, confusion, unweighted_average_recall
from train_host.recordings import read_recording

Alteration: TypeAlias = Callable[[NDArray[np.float32], Path], NDArray[np.float32]]
"""What is done to the samples of a recording, given with its path, before the device hears them."""


@dataclass(frozen=True)
class Scores:
    """Answers of a bundle to clips: indices into `EMOTIONS`, -1 where it found no speech or could not read the file."""

    clips: tuple[Clip, ...]
    answers: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @property
    def truth(self) -> NDArray[np.int64]:
        return np.array([EMOTIONS.index(clip.emotion) for clip in self.clips], np.int64)

    @property
    def uar(self) -> float:
        """Unweighted average recall, all eight answers allowed, as the device gives them."""
        return unweighted_average_recall(self.truth, self.answers)

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.answers == self.truth))

    @property
    def calibration_error(self) -> float:
        return calibration_error(self.confidence, self.answers == self.truth)

    @property
    def speech_found(self) -> float:
        """Share of the clips in which speech was found."""
        return float(np.mean(self.answers >= 0))

    @property
    def confusion(self) -> NDArray[np.int64]:
        return confusion(self.truth, self.answers, len(EMOTIONS))

    def of(self, keep: Callable[[Clip], bool]) -> Scores:
        """The part of the clips that `keep` says yes to."""
        chosen = [i for i, clip in enumerate(self.clips) if keep(clip)]
        return Scores(tuple(self.clips[i] for i in chosen), self.answers[chosen], self.confidence[chosen])


def score(
    bundle: Path, clips: Sequence[Clip], on_clip: Callable[[], None] = lambda: None, n_processes: int | None = None
) -> Scores:
    """Run the bundle in folder `bundle` over `clips`, one process for each core.

    Raises ExportError where one of the processes was ended from outside.
    """
    answers, confidence = [], []
    for result in hear(bundle, [clip.path for clip in clips], n_processes):
        answers.append(-1 if result.label is None else EMOTIONS.index(result.label))
        confidence.append(result.confidence)
        on_clip()
    return Scores(tuple(clips), np.array(answers, np.int64), np.array(confidence))


def hear(
    bundle: Path, paths: Sequence[Path], n_processes: int | None = None, alter: Alteration | None = None
) -> Iterator[FileResult]:
    """What the bundle in folder `bundle` says of each recording, in order; of one it cannot read, that it has no
    speech. `alter` is sent to the processes, so it must be picklable.

    Raises ExportError where one of the processes was ended from outside.
    """
    with ProcessPoolExecutor(n_processes, get_context("spawn"), _start_worker, (bundle, alter)) as workers:
        try:
            yield from workers.map(_answer, paths, chunksize=16)
        except BrokenProcessPool:
            raise ExportError(
                f"a process that measures {bundle.name} was ended from outside (out of memory?); try again"
            ) from None


_bundle: Bundle
_pipeline: Pipeline
_alter: Alteration | None


def _start_worker(path: Path, alter: Alteration | None) -> None:
    global _bundle, _pipeline, _alter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends its workers in good order
    _bundle = load_bundle(path)
    _pipeline = Pipeline(_bundle)
    _alter = alter


def _answer(path: Path) -> FileResult:
    try:
        samples = read_recording(path)
    except AudioError:
        return summarize([], _bundle, 0.0)
    if _alter is not None:
        samples = _alter(samples, path)
    _pipeline.reset()
    events = [*_pipeline.push(samples), *_pipeline.flush()]
    return summarize([e for e in events if isinstance(e, Detection)], _bundle, len(samples) / 16000)
