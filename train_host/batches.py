"""Endless, reproducible batches: what step 1234 of seed 5 trains on is always the same, so that a run can be resumed.

Corpora are drawn by the square root of their size, emotions evenly within a corpus: neither the largest corpus nor the
commonest emotion wins by numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from edge.features import FeatureConfig, dct_matrix
from edge.labels import EMOTIONS
from edge.normalize import Normalizer, NormalizerConfig
from train_host import augment
from train_host.dataset import Example
from train_host.recipes import Recipe

Float32 = NDArray[np.float32]

N_LABELS = len(EMOTIONS)
MAX_SPEED = 1.15
MAX_WARP = 1.08
"""About the difference between a long and a short vocal tract of one gender."""


def label_mask(examples: Sequence[Example]) -> dict[str, Float32]:
    """For each corpus the emotions it has, `(8,)` of 0 and 1. The others are left out of its loss and its figures."""
    masks: dict[str, Float32] = {}
    for example in examples:
        mask = masks.setdefault(example.clip.corpus, np.zeros(N_LABELS, np.float32))
        mask[EMOTIONS.index(example.clip.emotion)] = 1
    return masks


def fit_normalizer(examples: Sequence[Example], recipe: Recipe) -> NormalizerConfig:
    """Mean and deviation of every column over the training examples."""
    total, squares, n = 0.0, 0.0, 0
    for example in examples:
        rows = example.features.astype(np.float64)
        total, squares, n = total + rows.sum(axis=0), squares + (rows**2).sum(axis=0), n + len(rows)
    mean = np.asarray(total) / n
    std = np.sqrt(np.maximum(np.asarray(squares) / n - mean**2, 1e-6))
    running = np.zeros(recipe.features.n_features, bool)
    for column in recipe.running:
        running[recipe.features.slices[column]] = True
    return NormalizerConfig(
        tuple(mean.tolist()), tuple(std.tolist()), tuple(running.tolist()), recipe.prior_frames, recipe.memory_s
    )


class Perturbation:
    """Changes to a feature sequence that cost nothing: tempo, vocal tract, microphone colour, SpecAugment.

    Works on log-mel, which full-length MFCC are turned back into (their DCT is orthonormal). Recipes with neither keep
    their features as they are, but for the tempo.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self._slices = config.slices
        self._floor = np.float32(config.floor_db / 10 * np.log(10))
        edges = np.linspace(
            *(2595 * np.log10(1 + hz / 700) for hz in (config.f_min_hz, config.f_max_hz)), config.n_mels + 2
        )
        self._centres_hz = 700 * (10 ** (edges[1:-1] / 2595) - 1)
        self._dct = dct_matrix(config.n_mels, config.n_mels) if config.n_mfcc == config.n_mels else None

    def __call__(self, features: Float32, rng: np.random.Generator) -> Float32:
        """Take and return `(n_frames, n_features)`, not normalised; the number of frames may change."""
        speed = rng.uniform(1 / MAX_SPEED, MAX_SPEED)
        frames = np.minimum((np.arange(int(len(features) / speed)) * speed).astype(int), len(features) - 1)
        out = features[frames]
        warp = rng.uniform(1 / MAX_WARP, MAX_WARP)
        if "log_mel" in self._slices:
            columns = self._slices["log_mel"]
            out[:, columns] = self._spectral(out[:, columns], warp, rng)
        if "mfcc" in self._slices and self._dct is not None:
            columns = self._slices["mfcc"]
            out[:, columns] = self._spectral(out[:, columns] @ self._dct.T, warp, rng) @ self._dct
        return out

    def _spectral(self, log_mel: Float32, warp: float, rng: np.random.Generator) -> Float32:
        warped = augment.warp_frequency(log_mel, self._centres_hz, warp)
        coloured = augment.tilt(warped, rng, max_tilt=1.5, max_ripple=1.0)
        return augment.mask(np.logaddexp(coloured, self._floor), rng)


class Batches(keras.utils.PyDataset):
    """Batches for Keras: `((features, valid), targets)`, or `(features, targets)` for a window model.

    `targets (B, 16)`: the emotion as one-hot, then the mask of the emotions its corpus has. Item `i` is step
    `first_step + i` of the run, whatever was asked for before.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        recipe: Recipe,
        normalizer: NormalizerConfig,
        seed: int,
        n_steps: int,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.first_step = 0
        self._n_steps = n_steps
        self._examples = examples
        self._recipe = recipe
        self._seed = seed
        self._normalizer = normalizer
        self._perturb = Perturbation(recipe.features)
        self._masks = label_mask(examples)
        self._groups: dict[tuple[str, str], list[int]] = {}
        for i, example in enumerate(examples):
            self._groups.setdefault((example.clip.corpus, example.clip.emotion), []).append(i)
        self._corpora = sorted(self._masks)
        sizes = np.array([sum(e.clip.corpus == corpus for e in examples) for corpus in self._corpora], float)
        self._shares = np.sqrt(sizes) / np.sqrt(sizes).sum()

    def __len__(self) -> int:
        return self._n_steps

    def __getitem__(self, index: int):
        recipe, training = self._recipe, self._recipe.training
        rng = np.random.default_rng([self._seed, self.first_step + index])
        sequences, targets = [], np.zeros((training.batch_size, 2 * N_LABELS), np.float32)
        for row in range(training.batch_size):
            corpus = self._corpora[rng.choice(len(self._corpora), p=self._shares)]
            emotion = EMOTIONS[rng.choice(np.flatnonzero(self._masks[corpus]))]
            group = self._groups[corpus, emotion]
            example = self._examples[group[rng.integers(len(group))]]
            features = self._perturb(example.features.astype(np.float32), rng)
            features = Normalizer(self._normalizer, recipe.features.hop_ms).push(features)
            start = rng.integers(max(0, len(features) - training.crop_frames) + 1)
            sequences.append(features[start : start + training.crop_frames])
            targets[row, EMOTIONS.index(emotion)] = 1
            targets[row, N_LABELS:] = self._masks[corpus]
        return pad(sequences, training.crop_frames, recipe), targets


def pad(sequences: Sequence[Float32], n_frames: int, recipe: Recipe):
    """Model inputs of sequences no longer than `n_frames`, zeros on the right: `(features, valid)`, or `features` for
    a window model."""
    features = np.zeros((len(sequences), n_frames, recipe.features.n_features), np.float32)
    for row, sequence in enumerate(sequences):
        features[row, : len(sequence)] = sequence
    if recipe.form == "window":
        return features
    from train_host.model import STRIDE

    steps = np.array([len(sequence) // STRIDE for sequence in sequences])
    return features, (np.arange(n_frames // STRIDE) < steps[:, None]).astype(np.float32)
