"""The default recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge.features import FeatureConfig
from train_host.recipes.recipe import Recipe, Training

if TYPE_CHECKING:
    import keras


def network(n_features: int, *, n_layers: int = 2, dropout: float = 0.3, hears_speech: bool = True) -> keras.Model:
    """The network of the default recipe; its variants lack something."""
    from train_host import model

    return model.build(n_features, units=128, n_layers=n_layers, n_heads=4, dropout=dropout, hears_speech=hears_speech)


TONELIGHT: Final = Recipe(
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
        noise_reduction_db=0,
    ),
    form="stream",
    build=network,
    training=Training(
        steps=3000,
        batch_size=64,
        crop_frames=240,
        learning_rate=2e-3,
        weight_decay=1e-2,
        label_smoothing=0.1,
        average=0.998,
        views=1,
        perturbed=("tract", "colour", "style", "masks"),
        n_scenes=300,
    ),
)
