"""Answers to counts. Probabilities are `(n, 8)` in the order of `EMOTIONS`, all zero where no speech was found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.errors import AudioError
from edge.frontend import FrontEnd
from edge.labels import EMOTIONS
from edge.normalize import Normalizer
from edge.pipeline import FileResult
from edge.smoothing import DecisionConfig, activation, posterior, speech_probability
from train_host.batches import pad
from train_host.corpora.clip import Clip
from train_host.evaluate.result import CorpusResult, Emotions, Speaker, coverage, histogram
from train_host.metrics import activation_answers, activation_of, confusion
from train_host.model import STRIDE
from train_host.recipes import Recipe
from train_host.recordings import read_recording
from train_host.train import predict

if TYPE_CHECKING:
    import keras

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


def probabilities(results: Iterable[FileResult]) -> Float64:
    """Posteriors of whole recordings, as the device's pipeline gave them."""
    rows = [[one.probs.get(emotion, 0.0) for emotion in EMOTIONS] for one in results]
    return np.array(rows, np.float64).reshape(-1, len(EMOTIONS))


def keras_probabilities(
    model: keras.Model, bundle: Bundle, recipe: Recipe, paths: Sequence[Path], on_clip: Callable[[], None]
) -> Float64:
    """What the float Keras model says of recordings, on the very features and by the very rule of the device."""
    manifest = bundle.manifest
    front_end = FrontEnd(manifest.features, manifest.gate, manifest.model.chunk_frames)
    normalizer = Normalizer(manifest.normalizer, manifest.features.hop_ms)
    segments: list[tuple[int, float, NDArray[np.float32]]] = []
    least = 1 if recipe.form == "window" else STRIDE  # frames of one step; shorter segments have no answer
    for index, path in enumerate(paths):
        normalizer.reset()
        front_end.reset()
        try:
            samples = read_recording(path)
        except AudioError:  # no answer, as the device has none: its row stays zero
            on_clip()
            continue
        parts = []
        for chunk in [*front_end.push(samples), *front_end.flush()]:
            parts.append(normalizer.push(chunk.features))
            if chunk.is_last:
                features = np.concatenate(parts)
                if chunk.segment is not None and len(features) >= least:
                    segments.append((index, chunk.segment.end_s - chunk.segment.start_s, features))
                parts = []
        on_clip()
    sums, seconds = np.zeros((len(paths), len(EMOTIONS))), np.zeros((len(paths), 1))
    # by length, so that little is padded
    segments.sort(key=lambda segment: len(segment[2]))
    for start in range(0, len(segments), 64):
        batch = segments[start : start + 64]
        for (index, length_s, _), logits in zip(batch, predict(model, [_input(batch, recipe)]), strict=True):
            if manifest.model.hears_speech and speech_probability(logits[-1]) < manifest.decision.speech_from:
                continue
            sums[index] += length_s * posterior(logits[: len(EMOTIONS)], manifest.decision.temperature)
            seconds[index] += length_s
    return sums / np.maximum(seconds, 1e-9)


def _input(batch: Sequence[tuple[int, float, NDArray[np.float32]]], recipe: Recipe) -> Any:
    sequences = [features for _, _, features in batch]
    if recipe.form == "window":
        return pad([sequence[-recipe.window_frames :] for sequence in sequences], recipe.window_frames, recipe)
    return pad(sequences, -(-max(map(len, sequences)) // 128) * 128, recipe)


def shared_classes(tested: Collection[str], trained: Collection[str]) -> tuple[str, ...]:
    """The emotions that both have, in the order of `EMOTIONS`."""
    return tuple(emotion for emotion in EMOTIONS if emotion in tested and emotion in trained)


def answers(probs: Float64, classes: Collection[str] = EMOTIONS) -> Int64:
    """The likeliest of `classes`, as index into `EMOTIONS`; -1 where no speech was found."""
    allowed = np.array([emotion in classes for emotion in EMOTIONS])
    return np.where(probs.any(axis=1), np.where(allowed, probs, -1.0).argmax(axis=1), -1)


def emotion_counts(
    clips: Sequence[Clip], probs: Float64, classes: Collection[str], allowed: Collection[str]
) -> Emotions:
    """Counts `(8, 9)` of the clips whose emotion is one of `classes`, answers out of `allowed`."""
    keep = _of(clips, classes)
    return _tuples(confusion(_truth(clips)[keep], answers(probs, allowed)[keep], len(EMOTIONS)))


def speakers(
    clips: Sequence[Clip], probs: Float64, classes: dict[str, tuple[str, ...]], decision: DecisionConfig
) -> tuple[Speaker, ...]:
    """Counts of each speaker, answers out of the `classes` of the speaker's corpus."""
    found = []
    for corpus, speaker in sorted({(clip.corpus, clip.speaker) for clip in clips}):
        own = [i for i, clip in enumerate(clips) if (clip.corpus, clip.speaker) == (corpus, speaker)]
        mine = [clips[i] for i in own]
        found.append(
            Speaker(
                corpus=corpus,
                speaker=speaker,
                gender=mine[0].gender,
                emotions=emotion_counts(mine, probs[own], classes[corpus], classes[corpus]),
                activation=_tuples(_activation(mine, probs[own], classes[corpus], decision)[0]),
            )
        )
    return tuple(found)


def corpus_result(
    clips: Sequence[Clip], probs: Float64, keras_probs: Float64, classes: tuple[str, ...], decision: DecisionConfig
) -> CorpusResult:
    """Counts over the clips of one corpus, by the thresholds and the calibration of the bundle."""
    keep = _of(clips, classes)
    right = (answers(probs) == _truth(clips))[keep]
    confidence = probs.max(axis=1)[keep]
    certain = confidence >= decision.uncertain_below
    _, activation_confidence, activation_right = _activation(clips, probs, classes, decision)
    return CorpusResult(
        classes=classes,
        all_answers=emotion_counts(clips, probs, classes, EMOTIONS),
        keras=emotion_counts(clips, keras_probs, classes, classes),
        calibration=histogram(confidence, right),
        coverage=coverage(confidence, right),
        n_certain=int(certain.sum()),
        n_certain_right=int(right[certain].sum()),
        activation_calibration=histogram(activation_confidence, activation_right),
        activation_coverage=coverage(activation_confidence, activation_right),
    )


def _activation(
    clips: Sequence[Clip], probs: Float64, classes: Collection[str], decision: DecisionConfig
) -> tuple[Int64, Float64, NDArray[np.bool_]]:
    """Counts `(2, 3)` of the clips that have an activation; the confidence in each answer, and whether it was right."""
    truth = activation_of(_truth(clips))
    keep = _of(clips, classes) & (truth >= 0)
    heard = probs[keep]
    found, confidence = activation_answers(
        np.where(heard.any(axis=1), activation(heard, EMOTIONS, decision), np.nan),
    )
    return confusion(truth[keep], found, 2), confidence, found == truth[keep]


def _of(clips: Sequence[Clip], classes: Collection[str]) -> NDArray[np.bool_]:
    return np.array([clip.emotion in classes for clip in clips], bool)


def _truth(clips: Sequence[Clip]) -> Int64:
    return np.array([EMOTIONS.index(clip.emotion) for clip in clips], np.int64)


def _tuples(counts: Int64) -> Any:
    return tuple(tuple(row) for row in counts.tolist())
