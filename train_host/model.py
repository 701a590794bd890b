"""The default network: a causal residual LSTM with attention pooling that can be computed frame by frame.

    features (T, F) -> stem: 16 frames to 1 step, every 8 -> residual LSTM x 2 -> attention and mean pooling -> classes

Everything looks back only, so right padding changes nothing before it and no recurrent mask is needed: the LSTM takes
the cuDNN kernel on TensorFlow and on JAX. Padding is masked once, in the pooling. `train_host.streaming` is the same
network in the streaming form that boards run; a test and every export compare the two.
"""

from __future__ import annotations

from typing import Final

import keras
from keras import layers, ops

from edge.labels import EMOTIONS

STRIDE: Final = 8
"""Frames in one step of the LSTM: 80 ms."""
REACH: Final = 16
"""Frames that one step sees: its own 8 and the 8 before."""
SCORE_BOUND: Final = 4.0
"""Attention scores are squashed into +-4, so that their exponentials can be summed for hours without rescaling."""


@keras.saving.register_keras_serializable("tonelight")
class StreamablePooling(layers.Layer):
    """Attention over time, several heads, and the plain mean: `(B, S, C)` and valid `(B, S)` -> `(B, (heads + 1) * C)`.

    Sums of `exp(score) * step` and of `exp(score)`: both can be carried from chunk to chunk.
    """

    def __init__(self, n_heads: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.n_heads = n_heads

    def build(self, steps_shape, valid_shape) -> None:
        self.kernel = self.add_weight(
            shape=(steps_shape[-1], self.n_heads), initializer="glorot_uniform", name="kernel"
        )

    def call(self, steps, valid):
        scores = SCORE_BOUND * ops.tanh(ops.matmul(steps, self.kernel) / SCORE_BOUND)
        weights = ops.exp(scores) * ops.expand_dims(valid, -1)
        attended = ops.einsum("bsh,bsc->bhc", weights, steps) / (ops.expand_dims(ops.sum(weights, axis=1), -1) + 1e-6)
        flat = ops.reshape(attended, (-1, self.n_heads * steps.shape[-1]))
        mean = ops.einsum("bs,bsc->bc", valid, steps) / (ops.sum(valid, axis=1, keepdims=True) + 1e-6)
        return ops.concatenate([flat, mean], axis=-1)

    def get_config(self) -> dict:
        return {**super().get_config(), "n_heads": self.n_heads}


def build(
    n_features: int, *, units: int, n_layers: int, n_heads: int, dropout: float, hears_speech: bool
) -> keras.Model:
    """Inputs `features (B, T, n_features)` normalised, T a multiple of `STRIDE`, and `valid (B, T / STRIDE)` of 0 or 1;
    output: logits of the eight emotions `(B, 8)`, with `hears_speech` and of whether anybody speaks `(B, 9)`."""
    features = keras.Input((None, n_features), name="features")
    valid = keras.Input((None,), name="valid")
    steps = layers.ZeroPadding1D((REACH - STRIDE, 0), name="stem_pad")(features)
    steps = layers.Conv1D(units, REACH, strides=STRIDE, name="stem")(steps)
    steps = layers.LayerNormalization(epsilon=1e-3, name="stem_norm")(steps)
    steps = layers.Activation("relu", name="stem_relu")(steps)
    for i in range(n_layers):
        # the defaults (tanh, sigmoid, bias, no recurrent dropout, not unrolled) are what cuDNN needs
        update = layers.LSTM(units, return_sequences=True, name=f"lstm_{i}")(layers.Dropout(dropout)(steps))
        steps = layers.Add(name=f"residual_{i}")([steps, update])
    pooled = StreamablePooling(n_heads, name="pooling")(steps, valid)
    n_logits = len(EMOTIONS) + hears_speech
    logits = layers.Dense(n_logits, dtype="float32", name="logits")(layers.Dropout(dropout)(pooled))
    return keras.Model([features, valid], logits, name="tonelight")
