"""What a recipe is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from edge.features import FeatureConfig
from edge.gate import GateConfig

if TYPE_CHECKING:
    import keras

GATE: Final = GateConfig(
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


Perturbed = Literal["tract", "colour", "style", "masks"]


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
    """Copies of every clip as it could also have been, beside the original."""
    changes: Literal["everything", "noise", "noise_pitch_speed"] = "everything"
    """What makes these copies: `augment.Augmenter` (other microphones and rooms), or `field_augment.FieldAugmenter`."""
    perturbed: tuple[Perturbed, ...] = ()
    """What `perturb.Perturbation` changes in every batch anew."""
    n_scenes: int = 0
    """Scenes in which nobody speaks (`train_host.scenes`), to learn what is no speech from."""


@dataclass(frozen=True)
class Recipe:
    """`build(n_features)` makes the network: for `form` "stream" one of `model.build`, otherwise any Keras model from
    `(window_frames, n_features)` to the logits of the eight emotions (and of speech)."""

    name: str
    summary: str
    features: FeatureConfig
    form: Literal["stream", "window"]
    build: Callable[[int], keras.Model]
    training: Training
    window_frames: int = 300
    gate: GateConfig = GATE
    quantization: Literal["dynamic", "float16"] = "dynamic"
    """The smallest that says what the trained network says, in every fold (`train_host.export.check_parity`)."""

    @property
    def hears_speech(self) -> bool:
        """Whether the network has a ninth logit: that somebody speaks."""
        return self.training.n_scenes > 0
