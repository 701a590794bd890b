"""Networks of other projects of this kind, in the window form: `(n_frames, n_features)` normalised to eight logits.

Short speech is padded on the right with rows that are all zero, which no frame of sound is. None of these networks
hears its padding: recurrences are read out at the last frame of speech, means and extremes are taken over speech only,
and what convolutions make of padding is put back to zero, which is what they see at the end of a window anyway.
This is what Keras' `Masking` would do, written as plain arithmetic: a mask would cost the cuDNN kernel, and on boards
there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from edge.labels import EMOTIONS


def lstm(n_frames: int, n_features: int, *, units: Sequence[int], dropout: float) -> keras.Model:
    """LSTM layers one after the other, and the state of the last at the end of the speech."""
    features = keras.Input((n_frames, n_features), name="features")
    steps = features
    for number, width in enumerate(units):
        steps = layers.LSTM(width, return_sequences=True, name=f"lstm_{number}")(steps)
        steps = layers.Dropout(dropout)(steps)
    return _classifier(features, _at_end(steps, speech(features)))


def cnn(n_frames: int, n_features: int, *, filters: Sequence[int], width: int, dropout: float) -> keras.Model:
    """Convolutions over time, each halving it, and the mean over the speech."""
    features = keras.Input((n_frames, n_features), name="features")
    steps, valid = _convolutions(features, speech(features), filters, width)
    mean = ops.sum(steps * valid, axis=1) / (ops.sum(valid, axis=1) + 1e-6)
    hidden = layers.Dense(filters[-1], activation="relu", name="hidden")(layers.Dropout(dropout)(mean))
    return _classifier(features, layers.Dropout(dropout)(hidden))


def cnn_lstm(
    n_frames: int, n_features: int, *, filters: Sequence[int], width: int, units: int, dropout: float
) -> keras.Model:
    """Convolutions over time, each halving it, and an LSTM over what they found."""
    features = keras.Input((n_frames, n_features), name="features")
    steps, valid = _convolutions(features, speech(features), filters, width)
    steps = layers.LSTM(units, return_sequences=True, name="lstm")(layers.Dropout(dropout)(steps))
    return _classifier(features, layers.Dropout(dropout)(_at_end(steps, valid)))


def lfb_lstm(n_frames: int, n_bands: int, *, filters: Sequence[int], units: int, dropout: float) -> keras.Model:
    """Local-feature blocks on log-mel, each halving time and bands, and an LSTM over what they found.

    After Zhao, Mao and Chen 2019, "Speech emotion recognition using deep 1D & 2D CNN LSTM networks", with fewer
    filters.
    """
    features = keras.Input((n_frames, n_bands), name="features")
    valid = speech(features)
    image = layers.Reshape((n_frames, n_bands, 1), name="image")(features)
    for number, n in enumerate(filters):
        image = layers.Conv2D(n, 3, padding="same", use_bias=False, name=f"block_{number}")(image)
        image = layers.BatchNormalization(momentum=0.9, name=f"norm_{number}")(image)
        image = layers.ELU(name=f"elu_{number}")(image) * ops.expand_dims(valid, -1)
        image = layers.MaxPooling2D(2, name=f"pool_{number}")(image)
        valid = layers.MaxPooling1D(2, name=f"valid_{number}")(valid)
    steps = layers.Reshape((image.shape[1], image.shape[2] * image.shape[3]), name="steps")(image)
    steps = layers.LSTM(units, return_sequences=True, name="lstm")(layers.Dropout(dropout)(steps))
    return _classifier(features, layers.Dropout(dropout)(_at_end(steps, valid)))


def functionals(n_frames: int, n_features: int, *, units: Sequence[int], dropout: float) -> keras.Model:
    """A dense network on statistics over the speech: nothing of it knows what came after what."""
    features = keras.Input((n_frames, n_features), name="features")
    hidden = layers.BatchNormalization(momentum=0.9, name="norm")(statistics(features))
    # bounded, and not to be folded into the weights: next to extremes of 8, 8 bits would lose deviations of 0.1
    hidden = layers.Activation("tanh", name="bound")(hidden)
    for number, width in enumerate(units):
        hidden = layers.Dense(width, activation="relu", name=f"hidden_{number}")(hidden)
        hidden = layers.Dropout(dropout)(hidden)
    return _classifier(features, hidden)


def speech(features):
    """Which frames are not padding: `(B, T, F)` to `(B, T, 1)` of 0 and 1."""
    return ops.cast(ops.max(ops.abs(features), axis=2, keepdims=True) > 0, "float32")


def statistics(features):
    """Mean, deviation, minimum, maximum and mean step from frame to frame of each column, over the speech:
    `(B, T, F)` to `(B, 5 F)`."""
    valid = speech(features)
    n = ops.sum(valid, axis=1, keepdims=True) + 1e-6
    mean = ops.sum(features, axis=1, keepdims=True) / n
    # padding becomes the mean, which is never an extreme
    filled = features + (1 - valid) * mean
    deviation = ops.sqrt(ops.sum(ops.square(filled - mean), axis=1) / n[:, 0] + 1e-6)
    both = valid[:, 1:] * valid[:, :-1]
    movement = ops.sum(ops.abs(features[:, 1:] - features[:, :-1]) * both, axis=1) / (ops.sum(both, axis=1) + 1e-6)
    return ops.concatenate([mean[:, 0], deviation, ops.min(filled, axis=1), ops.max(filled, axis=1), movement], axis=1)


def _convolutions(features, valid, filters: Sequence[int], width: int):
    steps = features
    for number, n in enumerate(filters):
        steps = layers.Conv1D(n, width, padding="same", use_bias=False, name=f"conv_{number}")(steps)
        steps = layers.BatchNormalization(momentum=0.9, name=f"norm_{number}")(steps)
        steps = layers.Activation("relu", name=f"relu_{number}")(steps) * valid
        steps = layers.MaxPooling1D(2, name=f"pool_{number}")(steps)
        valid = layers.MaxPooling1D(2, name=f"valid_{number}")(valid)
    return steps, valid


def _at_end(steps, valid):
    """The last step of speech: `(B, S, C)` and `(B, S, 1)` to `(B, C)`."""
    following = ops.pad(valid[:, 1:], ((0, 0), (0, 1), (0, 0)))
    return ops.sum(steps * valid * (1 - following), axis=1)


def _classifier(features, hidden) -> keras.Model:
    return keras.Model(features, layers.Dense(len(EMOTIONS), name="logits")(hidden), name="field")
