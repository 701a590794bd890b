"""The second part of the default network: what statistics over the whole stretch of speech (functionals) say.

    features (T, F) -> five statistics of each column -> two dense layers -> classes

It learns by itself, from sequences as they are: the masks, and the styles of other corpora, that make the first part
(`train_host.model`) sure of itself in another room leave little of their statistics. `join` makes one network of both,
whose logits are the mean of theirs. The statistics are made of averages, which stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from edge.features import dct_matrix
from edge.labels import EMOTIONS
from edge.normalize import NormalizerConfig
from train_host.batches import N_LABELS, N_TARGETS, pad
from train_host.dataset import Example
from train_host.model import STRIDE
from train_host.perturb import colours
from train_host.recipes import Recipe

Float32 = NDArray[np.float32]

N_STATISTICS: Final = 5
LEAST_VARIANCE: Final = 1e-3
"""Added to every variance: the pitch of a whisper has none."""
BOUND: Final = 5.0
"""Statistics further than so many deviations from their mean count as that far: 8 bits have to hold them all."""
BATCH, LEARNING_RATE, WEIGHT_DECAY = 128, 1e-3, 1e-3
MIN_FRAMES: Final = 40
"""Of the beginnings of stretches, which are learned beside the whole: the light answers before the end."""


@keras.saving.register_keras_serializable("tonelight")
class StreamableStatistics(layers.Layer):
    """Features `(B, T, F)` and valid `(B, T / STRIDE)` -> `(B, 5 F)`: of each column the mean, the deviation, how far
    it moves from frame to frame, and deviation and movement of the means of `STRIDE` frames.

    Each is an average over the valid steps, which can be carried from chunk to chunk, or made of two such averages.
    """

    def call(self, features, valid):
        n_features = features.shape[2]
        by_step = (-1, ops.shape(valid)[1], STRIDE, n_features)
        steps = ops.mean(ops.reshape(features, by_step), axis=2)
        squares = ops.mean(ops.reshape(ops.square(features), by_step), axis=2)
        movement = ops.mean(ops.reshape(_movement(features), by_step), axis=2)
        each = ops.concatenate([steps, squares, movement, ops.square(steps), _movement(steps)], axis=2)
        average = ops.einsum("bs,bsc->bc", valid, each) / ops.maximum(ops.sum(valid, axis=1, keepdims=True), 1.0)
        mean, square, moved, slow_square, slow_moved = ops.split(average, N_STATISTICS, axis=1)
        deviation, slow_deviation = (
            ops.sqrt(ops.maximum(one - ops.square(mean), 0.0) + LEAST_VARIANCE) for one in (square, slow_square)
        )
        return ops.concatenate([mean, deviation, moved, slow_deviation, slow_moved], axis=1)

    def compute_output_spec(self, features, valid):
        return keras.KerasTensor((features.shape[0], N_STATISTICS * features.shape[2]), self.compute_dtype)


def _movement(values):
    """How far each row `(B, T, F)` is from the one before; nothing is before the first."""
    return ops.abs(values - ops.concatenate([values[:, :1], values[:, :-1]], axis=1))


def build(n_features: int, *, units: Sequence[int], dropout: float) -> keras.Model:
    """Inputs as those of `train_host.model.build`; output: logits of the eight emotions `(B, 8)`."""
    features = keras.Input((None, n_features), name="features")
    valid = keras.Input((None,), name="valid")
    hidden = StreamableStatistics(name="averages")(features, valid)
    # mean and deviation over the training side, which `fit` sets
    norm = layers.BatchNormalization(center=False, scale=False, epsilon=1e-6, trainable=False, name="norm")
    hidden = layers.Dropout(dropout / 2)(ops.clip(norm(hidden), -BOUND, BOUND))
    for number, width in enumerate(units):
        hidden = layers.Dense(width, activation="relu", name=f"hidden_{number}")(hidden)
        hidden = layers.Dropout(dropout)(hidden)
    return keras.Model([features, valid], layers.Dense(N_LABELS, name="logits")(hidden), name="statistics")


def fit(
    network: keras.Model,
    examples: Sequence[Example],
    recipe: Recipe,
    normalizer: NormalizerConfig,
    seed: int,
    n_steps: int,
    loss: Callable,
    on_progress: Callable[[int], None] = lambda n: None,
) -> None:
    """Train a network of `build` on the whole of `examples` and on a beginning of each; calls `on_progress` with the
    number of steps done since the last call."""
    rng = np.random.default_rng([seed, 0])
    begun = [
        Example(
            example.features[: int(rng.integers(min(MIN_FRAMES, len(example.features)), len(example.features) + 1))],
            example.clip,
        )
        for example in examples
    ]
    both = [*examples, *begun]
    vectors = statistics_of(network, both, recipe, normalizer)
    network.get_layer("norm").set_weights([vectors.mean(axis=0), vectors.var(axis=0)])
    rest = keras.Model(network.get_layer("averages").output, network.output)
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, decay_steps=n_steps)
    jit = "auto" if keras.backend.backend() == "jax" else False
    rest.compile(keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY), loss=loss, jit_compile=jit)
    draws = _Draws(vectors, both, recipe, normalizer, seed, n_steps)
    on_step = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: on_progress(1))
    rest.fit(draws, epochs=1, shuffle=False, verbose=0, callbacks=[on_step])


def statistics_of(
    network: keras.Model, examples: Sequence[Example], recipe: Recipe, normalizer: NormalizerConfig
) -> Float32:
    """What the first layer of a network of `build` makes of each example, `(n, 5 F)`."""
    averages = keras.Model(network.inputs, network.get_layer("averages").output)
    mean, std = (np.asarray(values, np.float32) for values in (normalizer.mean, normalizer.std))
    order = np.argsort([len(example.features) for example in examples], kind="stable")
    found: list[Float32] = [np.empty(0, np.float32)] * len(examples)
    for start in range(0, len(order), 256):
        group = order[start : start + 256]
        sequences = [(examples[i].features.astype(np.float32) - mean) / std for i in group]
        # few different lengths, because each is compiled once
        n_frames = -(-max(map(len, sequences)) // 128) * 128
        for i, vector in zip(
            group, np.asarray(averages.predict_on_batch(pad(sequences, n_frames, recipe))), strict=True
        ):
            found[i] = vector
    return np.stack(found)


class _Draws(keras.utils.PyDataset):
    """Batches of statistics, drawn as `train_host.batches` draws: corpora by the square root of their voices, emotions
    evenly; each heard by a microphone of another colour, if the recipe has such: a colour moves nothing but means."""

    def __init__(
        self,
        vectors: Float32,
        examples: Sequence[Example],
        recipe: Recipe,
        normalizer: NormalizerConfig,
        seed: int,
        n_steps: int,
    ) -> None:
        super().__init__()
        self._vectors, self._seed, self._n_steps = vectors, seed, n_steps
        self._emotions = np.array([EMOTIONS.index(example.clip.emotion) for example in examples])
        corpora = np.array([example.clip.corpus for example in examples])
        weights = np.zeros(len(examples))
        for corpus in np.unique(corpora):
            mine = corpora == corpus
            n_voices = len({example.clip.speaker for example in examples if example.clip.corpus == corpus})
            emotions = np.unique(self._emotions[mine])
            for emotion in emotions:
                group = mine & (self._emotions == emotion)
                weights[group] = np.sqrt(n_voices) / len(emotions) / group.sum()
        self._cumulated = np.cumsum(weights / weights.sum())
        config = recipe.features
        self._colour: dict[str, Float32] = {}
        if "colour" in recipe.training.perturbed:
            if "log_mel" in config.slices:
                self._colour["log_mel"] = np.eye(config.n_mels, dtype=np.float32)
            if "mfcc" in config.slices and config.n_mfcc == config.n_mels:
                self._colour["mfcc"] = dct_matrix(config.n_mels, config.n_mels)
        self._slices, self._n_mels = config.slices, config.n_mels
        self._std = np.asarray(normalizer.std, np.float32)

    def __len__(self) -> int:
        return self._n_steps

    def __getitem__(self, index: int) -> tuple[Float32, Float32]:
        rng = np.random.default_rng([self._seed, 1, index])
        rows = np.minimum(np.searchsorted(self._cumulated, rng.random(BATCH)), len(self._cumulated) - 1)
        vectors = self._vectors[rows].copy()
        curves = colours(BATCH, self._n_mels, rng)
        for kind, matrix in self._colour.items():
            columns = self._slices[kind]
            vectors[:, columns] += curves @ matrix / self._std[columns]
        targets = np.zeros((BATCH, N_TARGETS), np.float32)
        targets[np.arange(BATCH), self._emotions[rows]] = 1
        targets[:, -1] = 1
        return vectors, targets


def join(sequence: keras.Model, statistics: keras.Model) -> keras.Model:
    """One network of a `train_host.model.build` and a `build`, both as they are now. Its last layer, `logits`, answers
    with the mean of what the two say of the emotions; whether anybody speaks the first one says."""
    features, valid = sequence.inputs
    hidden = keras.Model(statistics.inputs, statistics.get_layer("logits").input, name="statistics")([features, valid])
    both = layers.Concatenate(name="both")([sequence.get_layer("logits").input, hidden])
    (kernel, bias), (kernel_2, bias_2) = (part.get_layer("logits").get_weights() for part in (sequence, statistics))
    n_logits = kernel.shape[1]
    logits = layers.Dense(n_logits, dtype="float32", name="logits")
    network = keras.Model([features, valid], logits(both), name="tonelight")
    kernel, bias = kernel.copy(), bias.copy()
    for first in (kernel[:, :N_LABELS], bias[:N_LABELS]):
        first *= 0.5
    bias[:N_LABELS] += bias_2 / 2
    second = np.zeros((len(kernel_2), n_logits), np.float32)
    second[:, :N_LABELS] = kernel_2 / 2
    logits.set_weights([np.concatenate([kernel, second]), bias])
    return network
