"""What an exported bundle says of recordings it is given: the device's own pipeline, run over a corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle, load_bundle
from edge.errors import AudioError
from edge.events import Detection
from edge.labels import EMOTIONS
from edge.pipeline import FileResult, Pipeline, summarize
from train_host.corpora.clip import Clip
from train_host.corpora.noises import Sound
from train_host.errors import ExportError
from train_host.metrics import (
    activation_answers,
    activation_of,
    calibration_error,
    confusion,
    unweighted_average_recall,
)
from train_host.recordings import read_recording
from train_host.workers import deaf_to_interrupts

Alteration: TypeAlias = Callable[[NDArray[np.float32], Path], NDArray[np.float32]]
"""What is done to the samples of a recording, given with its path, before the device hears them."""
MADE_OF_VOICES: Final = ("babble", "speech_test_signal")
"""In the names of noises that are people talking: what is heard there is no false alarm."""


class NoiseHeard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A noise by itself, and in how many stretches of it the bundle heard somebody speak."""

    name: str
    is_familiar: bool
    """Whether training may have used it."""
    seconds: float
    n_events: int

    @property
    def has_voices(self) -> bool:
        return any(word in self.name.lower() for word in MADE_OF_VOICES)


@dataclass(frozen=True)
class Scores:
    """Answers of a bundle to clips: indices into `EMOTIONS`, -1 where it found no speech or could not read the file.

    Shares of nothing are nan.
    """

    clips: tuple[Clip, ...]
    answers: NDArray[np.int64]
    confidence: NDArray[np.float64]
    uncertain: NDArray[np.bool_]
    activation: NDArray[np.float64]
    """Probability that it is high; nan where no speech was found."""

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
    def named(self) -> float:
        """Share of the clips that are sure enough to be given the name of an emotion."""
        return float(np.mean(~self.uncertain))

    @property
    def accuracy_named(self) -> float:
        """Share of the names that are right."""
        right = (self.answers == self.truth)[~self.uncertain]
        return float(right.mean()) if len(right) else float("nan")

    @property
    def activation_uar(self) -> float:
        """Unweighted average recall of high and low activation."""
        truth, answers, _ = self._activation()
        return unweighted_average_recall(truth, answers) if len(truth) else float("nan")

    @property
    def activation_calibration_error(self) -> float:
        truth, answers, confidence = self._activation()
        return calibration_error(confidence, answers == truth) if len(truth) else float("nan")

    def _activation(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Truth, answer (0 high, 1 low, -1 none) and confidence of the clips whose emotion has an activation."""
        truth = activation_of(self.truth)
        answers, confidence = activation_answers(self.activation)
        return truth[truth >= 0], answers[truth >= 0], confidence[truth >= 0]

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
        return Scores(
            tuple(self.clips[i] for i in chosen),
            self.answers[chosen],
            self.confidence[chosen],
            self.uncertain[chosen],
            self.activation[chosen],
        )


def score(
    bundle: Path, clips: Sequence[Clip], on_clip: Callable[[], None] = lambda: None, n_processes: int | None = None
) -> Scores:
    """Run the bundle in folder `bundle` over `clips`, one process for each core.

    Raises ExportError where one of the processes was ended from outside.
    """
    found = []
    for result in hear(bundle, [clip.path for clip in clips], n_processes):
        found.append(result)
        on_clip()
    return Scores(
        tuple(clips),
        np.array([-1 if one.label is None else EMOTIONS.index(one.label) for one in found], np.int64),
        np.array([one.confidence for one in found], np.float64),
        np.array([one.uncertain for one in found], bool),
        np.array([np.nan if one.activation is None else one.activation for one in found], np.float64),
    )


def hear(
    bundle: Path, paths: Sequence[Path], n_processes: int | None = None, alter: Alteration | None = None
) -> Iterator[FileResult]:
    """What the bundle in folder `bundle` says of each recording, in order; of one it cannot read, that it has no
    speech. `alter` is sent to the processes, so it must be picklable.

    Raises ExportError where one of the processes was ended from outside.
    """
    with ProcessPoolExecutor(n_processes, get_context("spawn"), _start_worker, (bundle, alter)) as workers:
        try:
            with deaf_to_interrupts():
                results = workers.map(_answer, paths, chunksize=16)
            yield from results
        except BrokenProcessPool:
            raise ExportError(
                f"a process that measures {bundle.name} was ended from outside (out of memory?); try again"
            ) from None


def hear_noises(
    bundle: Path,
    noises: Sequence[Sound],
    on_noise: Callable[[], None] = lambda: None,
    n_processes: int | None = None,
    *,
    are_familiar: bool = True,
) -> tuple[NoiseHeard, ...]:
    """What the bundle in folder `bundle` hears in each noise by itself. `are_familiar`: its training was given those
    that are free. Raises ExportError as `hear` does."""
    found = []
    for noise, result in zip(noises, hear(bundle, [one.path for one in noises], n_processes), strict=True):
        is_familiar = are_familiar and noise.is_free
        found.append(NoiseHeard(noise.path.stem, is_familiar, round(result.seconds, 2), result.segments))
        on_noise()
    return tuple(found)


_bundle: Bundle
_pipeline: Pipeline
_alter: Alteration | None


def _start_worker(path: Path, alter: Alteration | None) -> None:
    global _bundle, _pipeline, _alter
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
