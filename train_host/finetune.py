"""A whole network moved a little towards a few clips of one person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import keras
import numpy as np
from keras import ops

from edge.labels import EMOTIONS
from train_host.batches import N_LABELS, pad
from train_host.dataset import Example
from train_host.perturb import Perturbation, crop
from train_host.recipes import Recipe
from train_host.train import RunInfo, dropout_seeds

STEPS: Final = 100
"""Of `BATCH` examples: some seconds. Chosen with `LEARNING_RATE` on nEMO and TESS, each left out of the training."""
BATCH: Final = 32
LEARNING_RATE: Final = 1e-3
PERTURBED: Final = ("tract", "colour", "masks")
"""Few clips are said in many ways, so that not these recordings are learned but the voice."""


class FineTuner:
    """Trains one network on, for one person after the other; it is compiled once for all of them."""

    def __init__(self, model: keras.Model, recipe: Recipe, info: RunInfo) -> None:
        self._model = model
        self._recipe = recipe
        self._mean = np.asarray(info.normalizer.mean, np.float32)
        self._std = np.asarray(info.normalizer.std, np.float32)
        self._perturb = Perturbation(recipe.features, [one for one in recipe.training.perturbed if one in PERTURBED])
        self._n_frames = recipe.window_frames if recipe.form == "window" else recipe.training.crop_frames
        schedule = keras.optimizers.schedules.CosineDecay(
            LEARNING_RATE / 10,
            decay_steps=round(0.8 * STEPS),
            alpha=0.05,
            warmup_target=LEARNING_RATE,
            warmup_steps=round(0.2 * STEPS),
        )
        # XLA makes TensorFlow slower on CPUs; JAX has no other way
        jit = "auto" if keras.backend.backend() == "jax" else False
        model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), loss=_loss, jit_compile=jit)
        model.optimizer.build(model.trainable_variables)
        self._weights = model.get_weights()
        self._changing = [*model.optimizer.variables, *dropout_seeds(model)]
        self._at_first = [ops.convert_to_numpy(variable) for variable in self._changing]

    def fit(self, examples: Sequence[Example]) -> None:
        """Move the weights that the network has now towards `examples` of at least two emotions, by the same chances
        each time.

        Emotions count alike, however many examples they have. Of those that nobody recorded nothing is learned.
        """
        for variable, value in zip(self._changing, self._at_first, strict=True):
            variable.assign(value)
        self._model.fit(_Batches(self, examples), epochs=1, shuffle=False, verbose=0)

    def restore(self) -> None:
        """The network as it was at first."""
        self._model.set_weights(self._weights)

    def batch(self, examples: Sequence[Example], rng: np.random.Generator):
        """`(inputs, targets)`; targets `(B, 16)`: the emotion as one-hot, and which emotions there are."""
        groups: dict[int, list[Example]] = {}
        for example in examples:
            groups.setdefault(EMOTIONS.index(example.clip.emotion), []).append(example)
        targets = np.zeros((BATCH, 2 * N_LABELS), np.float32)
        targets[:, [N_LABELS + emotion for emotion in groups]] = 1
        sequences = []
        for row in range(BATCH):
            emotion = int(rng.choice(list(groups)))
            group = groups[emotion]
            sequences.append(crop(group[rng.integers(len(group))].features, self._n_frames, rng))
            targets[row, emotion] = 1
        lengths = np.array([len(sequence) for sequence in sequences])
        features = np.zeros((BATCH, self._n_frames, self._recipe.features.n_features), np.float32)
        for row, sequence in enumerate(sequences):
            features[row, : len(sequence)] = sequence
        features = (self._perturb(features, np.arange(self._n_frames) < lengths[:, None], rng) - self._mean) / self._std
        cut = [row[:length] for row, length in zip(features, lengths.tolist(), strict=True)]
        return pad(cut, self._n_frames, self._recipe), targets


class _Batches(keras.utils.PyDataset):
    def __init__(self, tuner: FineTuner, examples: Sequence[Example]) -> None:
        super().__init__()
        self._tuner = tuner
        self._examples = examples

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int):
        return self._tuner.batch(self._examples, np.random.default_rng([0, index]))


def _loss(targets, logits):
    truth, there = targets[:, :N_LABELS], targets[:, N_LABELS:]
    return -ops.sum(truth * ops.log_softmax(logits[:, :N_LABELS] + (there - 1) * 1e9), axis=1)
