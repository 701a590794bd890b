"""The networks that other projects of this kind use, on features and with habits like theirs: to compare with.

They hear levels as they are (`level_memory_s=0`), train on no recordings but the corpora's own unless they say
otherwise, and classify the last seconds anew each half second. lstm128 takes a frame every 10 ms, the others every
20 ms, which is about what librosa's defaults give (23 ms), and 3.2 s of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from msgspec.structs import replace

from edge.features import Column, FeatureConfig
from train_host.recipes.recipe import Recipe, Training

if TYPE_CHECKING:
    import keras

WINDOW_FRAMES: Final = 160
"""A multiple of 32, so that networks that halve it up to five times lose no frame."""

_FINE: Final = FeatureConfig(
    sample_rate_hz=16000,
    window_ms=25,
    hop_ms=10,
    n_mels=40,
    f_min_hz=60,
    f_max_hz=7600,
    n_mfcc=13,
    columns=("rms", "zcr", "mfcc"),
    level_memory_s=0,
    floor_db=-90,
    noise_reduction_db=0,
)
_COARSE: Final = replace(_FINE, window_ms=50, hop_ms=20, n_mfcc=20)


def _lstm128(n_features: int) -> keras.Model:
    import keras

    from edge.labels import EMOTIONS

    return keras.Sequential(
        [
            keras.Input((300, n_features), name="features"),
            keras.layers.LSTM(128, name="lstm"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(len(EMOTIONS), name="logits"),
        ],
        name="lstm128",
    )


def _lstm256(n_features: int) -> keras.Model:
    from train_host import field_models

    return field_models.lstm(WINDOW_FRAMES, n_features, units=(256,), dropout=0.3)


def _lstm2x64(n_features: int) -> keras.Model:
    from train_host import field_models

    return field_models.lstm(WINDOW_FRAMES, n_features, units=(64, 64), dropout=0.3)


def _cnn(n_features: int) -> keras.Model:
    from train_host import field_models

    return field_models.cnn(WINDOW_FRAMES, n_features, filters=(64, 128, 128), width=5, dropout=0.3)


def _cnn_lstm(n_features: int) -> keras.Model:
    from train_host import field_models

    return field_models.cnn_lstm(WINDOW_FRAMES, n_features, filters=(64, 128), width=5, units=128, dropout=0.3)


def _lfb_lstm(n_features: int) -> keras.Model:
    from train_host import field_models

    return field_models.lfb_lstm(WINDOW_FRAMES, n_features, filters=(16, 32, 64, 64), units=128, dropout=0.3)


def _functionals(n_features: int) -> keras.Model:
    from train_host import field_models

    return field_models.functionals(WINDOW_FRAMES, n_features, units=(256, 128), dropout=0.4)


_ADAM: Final = Training(
    steps=1000,
    batch_size=32,
    crop_frames=WINDOW_FRAMES,
    learning_rate=1e-3,
    weight_decay=0,
    label_smoothing=0,
    average=0.99,
    views=0,
)


def _coarse(
    name: str,
    summary: str,
    build: Callable[[int], keras.Model],
    *,
    columns: tuple[Column, ...],
    training: Training,
    quantization: Literal["dynamic", "float16"] = "dynamic",
) -> Recipe:
    return Recipe(
        name=name,
        summary=summary,
        features=replace(_COARSE, columns=columns),
        form="window",
        build=build,
        training=training,
        window_frames=WINDOW_FRAMES,
        quantization=quantization,
    )


FIELD: Final = (
    Recipe(
        name="lstm128",
        summary="as the field's projects do it: LSTM(128) over the last 3 s of MFCC + RMS + ZCR",
        features=_FINE,
        form="window",
        build=_lstm128,
        training=dataclasses.replace(_ADAM, steps=2000, batch_size=48, crop_frames=300),
    ),
    _coarse(
        "lstm256",
        "LSTM(256) over the last 3.2 s of MFCC + RMS + ZCR",
        _lstm256,
        columns=("rms", "zcr", "mfcc"),
        training=dataclasses.replace(_ADAM, steps=500),
    ),
    _coarse(
        "lstm2x64",
        "two LSTM(64) over RMS + ZCR + MFCC",
        _lstm2x64,
        columns=("rms", "zcr", "mfcc"),
        training=dataclasses.replace(_ADAM, steps=1200),
        quantization="float16",
    ),
    _coarse(
        "cnn",
        "1-D convolutions over ZCR + RMS + MFCC; also trains on copies with noise and another pitch or speed",
        _cnn,
        columns=("zcr", "rms", "mfcc"),
        training=dataclasses.replace(_ADAM, steps=2000, views=2, changes="noise_pitch_speed"),
    ),
    _coarse(
        "cnn_lstm",
        "1-D convolutions and an LSTM(128) over ZCR + RMS + MFCC; copies as for cnn",
        _cnn_lstm,
        columns=("zcr", "rms", "mfcc"),
        training=dataclasses.replace(_ADAM, steps=2000, views=2, changes="noise_pitch_speed"),
    ),
    # made for six emotions; here it has all eight outputs
    _coarse(
        "lfb_lstm",
        "four local-feature blocks and an LSTM(128) on log-mel; also trains on copies with noise",
        _lfb_lstm,
        columns=("log_mel",),
        training=dataclasses.replace(_ADAM, steps=500, views=1, changes="noise"),
    ),
    _coarse(
        "functionals",
        "a dense network on statistics of RMS, chroma, ZCR, MFCC and log-mel",
        _functionals,
        columns=("rms", "chroma", "zcr", "mfcc", "log_mel"),
        training=dataclasses.replace(_ADAM, steps=1500, batch_size=64),
    ),
)
