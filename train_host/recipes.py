"""Recipes: a network together with everything that it must be trained and deployed with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edge.features import FeatureConfig
from edge.gate import GateConfig
from train_host.errors import RecipeError

if TYPE_CHECKING:
    import keras

GATE = GateConfig(
    open_db=10,
    close_db=6,
    min_level_db=-62,
    initial_floor_db=-50,
    rise_db_per_s=3,
    onset_ms=60,
    pre_roll_ms=120,
    hangover_ms=500,
    min_speech_ms=150,
    max_segment_s=10,
)
"""One gate for all recipes: what is speech does not depend on who classifies it."""


@dataclass(frozen=True)
class Training:
    """How long and how hard to train. One step is one batch."""

    steps: int
    batch_size: int
    crop_frames: int
    """Frames of an example; longer segments are cropped at random, shorter ones padded on the right."""
    learning_rate: float
    """At its peak: warm-up over the first 5%, then a cosine down to 1% of it."""
    weight_decay: float
    label_smoothing: float
    average: float
    """Momentum of the exponential moving average of the weights; the average is what is exported."""
    views: int
    """Copies of every clip as other microphones and rooms would hear it (`augment.Augmenter`), beside the original."""


@dataclass(frozen=True)
class Recipe:
    """`build(n_features)` makes the network: for `form` "stream" one of `model.build`, otherwise any Keras model from
    `(window_frames, n_features)` to the logits of the eight emotions."""

    name: str
    summary: str
    features: FeatureConfig
    form: Literal["stream", "window"]
    build: Callable[[int], keras.Model]
    training: Training
    running: tuple[str, ...] = ()
    """Columns centred on the running mean of their stream; the others on the mean of the training set."""
    prior_frames: float = 100
    memory_s: float = 20
    window_frames: int = 300
    gate: GateConfig = GATE


def _tonelight(n_features: int) -> keras.Model:
    from train_host import model

    return model.build(n_features, units=128, n_layers=2, n_heads=4, dropout=0.3)


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


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="tonelight",
            summary="the default: a causal residual LSTM that streams, MFCC + RMS + ZCR + pitch",
            features=FeatureConfig(
                sample_rate_hz=16000,
                window_ms=25,
                hop_ms=10,
                n_mels=40,
                f_min_hz=60,
                f_max_hz=7600,
                n_mfcc=40,
                columns=("mfcc", "rms", "zcr", "pitch"),
                level_memory_s=10,
                floor_db=-50,
            ),
            form="stream",
            build=_tonelight,
            training=Training(
                steps=1400,
                batch_size=64,
                crop_frames=240,
                learning_rate=2e-3,
                weight_decay=1e-2,
                label_smoothing=0.1,
                average=0.998,
                views=2,
            ),
        ),
        Recipe(
            name="lstm128",
            summary="as the field's projects do it: LSTM(128) over the last 3 s of MFCC + RMS + ZCR",
            features=FeatureConfig(
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
            ),
            form="window",
            build=_lstm128,
            training=Training(
                steps=2000,
                batch_size=48,
                crop_frames=300,
                learning_rate=1e-3,
                weight_decay=0,
                label_smoothing=0,
                average=0.99,
                views=0,
            ),
        ),
    )
}


def find_recipe(name: str) -> Recipe:
    """Raises RecipeError, naming the recipes there are."""
    if name not in RECIPES:
        raise RecipeError(f"no recipe {name!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]
