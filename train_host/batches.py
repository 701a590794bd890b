"""Endless, reproducible batches: what step 1234 of seed 5 trains on is always the same, so that a run can be resumed.

Corpora are drawn by the square root of the number of their voices, emotions evenly within a corpus: what has to be
learned is how people differ, and neither the largest corpus nor the commonest emotion wins by its number of clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from edge.labels import EMOTIONS
from edge.normalize import NormalizerConfig
from train_host.dataset import Example
from train_host.perturb import Perturbation, crop
from train_host.recipes import Recipe

Float16, Float32 = NDArray[np.float16], NDArray[np.float32]

N_LABELS = len(EMOTIONS)
N_TARGETS = N_LABELS + 1
SCENE_SHARE = 0.1
"""Of the examples of a batch, those in which nobody speaks."""


def label_mask(examples: Sequence[Example]) -> dict[str, Float32]:
    """For each corpus the emotions it has, `(8,)` of 0 and 1. The others are left out of its figures."""
    masks: dict[str, Float32] = {}
    for example in examples:
        mask = masks.setdefault(example.clip.corpus, np.zeros(N_LABELS, np.float32))
        mask[EMOTIONS.index(example.clip.emotion)] = 1
    return masks


def fit_normalizer(examples: Sequence[Example], recipe: Recipe) -> NormalizerConfig:
    """Mean and deviation of every column over the training examples; none is centred on its running mean."""
    total, squares, n = 0.0, 0.0, 0
    for example in examples:
        rows = example.features.astype(np.float64)
        total, squares, n = total + rows.sum(axis=0), squares + (rows**2).sum(axis=0), n + len(rows)
    mean = np.asarray(total) / n
    std = np.sqrt(np.maximum(np.asarray(squares) / n - mean**2, 1e-6))
    none = (False,) * recipe.features.n_features
    return NormalizerConfig(tuple(mean.tolist()), tuple(std.tolist()), none, prior_frames=100, memory_s=20)


class Batches(keras.utils.PyDataset):
    """Batches for Keras: `((features, valid), targets)`, or `(features, targets)` for a window model.

    `targets (B, 9)`: the emotion as one-hot, and whether it is speech; all zero for `scenes`, in which nobody speaks.
    Item `i` is step `first_step + i` of the run, whatever was asked for before.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        recipe: Recipe,
        normalizer: NormalizerConfig,
        seed: int,
        n_steps: int,
        scenes: Sequence[Float16] = (),
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.first_step = 0
        self._n_steps = n_steps
        self._examples = examples
        self._scenes = scenes
        self._recipe = recipe
        self._seed = seed
        self._mean = np.asarray(normalizer.mean, np.float32)
        self._std = np.asarray(normalizer.std, np.float32)
        self._perturb = Perturbation(recipe.features, recipe.training.perturbed)
        self._masks = label_mask(examples)
        self._groups: dict[tuple[str, str], list[int]] = {}
        for i, example in enumerate(examples):
            self._groups.setdefault((example.clip.corpus, example.clip.emotion), []).append(i)
        self._corpora = sorted(self._masks)
        voices = {corpus: {e.clip.speaker for e in examples if e.clip.corpus == corpus} for corpus in self._corpora}
        sizes = np.sqrt([len(voices[corpus]) for corpus in self._corpora])
        self._shares = sizes / sizes.sum()

    def __len__(self) -> int:
        return self._n_steps

    def __getitem__(self, index: int):
        recipe, training = self._recipe, self._recipe.training
        rng = np.random.default_rng([self._seed, self.first_step + index])
        n_frames = training.crop_frames
        features = np.zeros((training.batch_size, n_frames, recipe.features.n_features), np.float32)
        targets = np.zeros((training.batch_size, N_TARGETS), np.float32)
        lengths = np.zeros(training.batch_size, np.int64)
        for row in range(training.batch_size):
            if self._scenes and rng.random() < SCENE_SHARE:
                source = self._scenes[rng.integers(len(self._scenes))]
            else:
                corpus = self._corpora[rng.choice(len(self._corpora), p=self._shares)]
                emotion = EMOTIONS[rng.choice(np.flatnonzero(self._masks[corpus]))]
                group = self._groups[corpus, emotion]
                source = self._examples[group[rng.integers(len(group))]].features
                targets[row, EMOTIONS.index(emotion)] = 1
                targets[row, -1] = 1
            sequence = crop(source, n_frames, rng)
            features[row, : len(sequence)] = sequence
            lengths[row] = len(sequence)
        valid = np.arange(n_frames) < lengths[:, None]
        features = self._perturb(features, valid, rng)
        # padding is zero after normalisation, as the device's own
        features = np.where(valid[..., None], (features - self._mean) / self._std, np.float32(0))
        return _inputs(features, lengths, recipe), targets


def pad(sequences: Sequence[Float32], n_frames: int, recipe: Recipe):
    """Model inputs of sequences no longer than `n_frames`, zeros on the right: `(features, valid)`, or `features` for
    a window model."""
    features = np.zeros((len(sequences), n_frames, recipe.features.n_features), np.float32)
    for row, sequence in enumerate(sequences):
        features[row, : len(sequence)] = sequence
    return _inputs(features, np.array([len(sequence) for sequence in sequences]), recipe)


def _inputs(features: Float32, lengths: NDArray[np.int64], recipe: Recipe):
    if recipe.form == "window":
        return features
    from train_host.model import STRIDE

    n_steps = features.shape[1] // STRIDE
    return features, (np.arange(n_steps) < (lengths // STRIDE)[:, None]).astype(np.float32)
