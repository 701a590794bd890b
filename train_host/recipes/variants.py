"""The default recipe without one of its ingredients, or with one that it does not have: what each is worth, the
report's table of ablations says.

An ingredient that is not worth its place is deleted from the default recipe, and its line here with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace as replace_struct

from train_host.recipes.recipe import Recipe
from train_host.recipes.tonelight import TONELIGHT, network

if TYPE_CHECKING:
    import keras

PREFIX: Final = f"{TONELIGHT.name}-with"
"""What the name of every variant begins with, and no other recipe's."""


def _one_layer(n_features: int) -> keras.Model:
    return network(n_features, n_layers=1)


def _no_speech_logit(n_features: int) -> keras.Model:
    return network(n_features, hears_speech=False)


def _no_dropout(n_features: int) -> keras.Model:
    return network(n_features, dropout=0)


def _without(ingredient: str, words: str, **changes: Any) -> Recipe:
    return replace(TONELIGHT, name=f"{PREFIX}out-{ingredient}", summary=f"the default without {words}", **changes)


def _with(ingredient: str, words: str, **changes: Any) -> Recipe:
    return replace(TONELIGHT, name=f"{PREFIX}-{ingredient}", summary=f"the default with {words}", **changes)


def _features(**changes: Any) -> dict[str, Any]:
    return {"features": replace_struct(TONELIGHT.features, **changes)}


def _training(**changes: Any) -> dict[str, Any]:
    return {"training": replace(TONELIGHT.training, **changes)}


def _perturbed(*left_out: str) -> dict[str, Any]:
    return _training(perturbed=tuple(one for one in TONELIGHT.training.perturbed if one not in left_out))


def _columns(*left_out: str) -> dict[str, Any]:
    return _features(columns=tuple(column for column in TONELIGHT.features.columns if column not in left_out))


VARIANTS: Final = {
    recipe.name: recipe
    for recipe in (
        _without("pitch", "pitch", **_columns("pitch")),
        _without("rms-and-zcr", "RMS and ZCR", **_columns("rms", "zcr")),
        _without("level", "the running level that loudness is measured from", **_features(level_memory_s=0)),
        _without("copies", "copies as other microphones and rooms would have heard them", **_training(views=0)),
        _without("tract", "vocal tracts of other lengths", **_perturbed("tract")),
        _without("colour", "microphones of other colours", **_perturbed("colour")),
        _without("style", "one corpus in the style of another", **_perturbed("style")),
        _without("masks", "masks over time and bands", **_perturbed("masks")),
        _without("scenes", "scenes in which nobody speaks", build=_no_speech_logit, **_training(n_scenes=0)),
        _without("smoothing", "label smoothing", **_training(label_smoothing=0)),
        _without("average", "the moving average of the weights", **_training(average=0)),
        _without("dropout", "dropout", build=_no_dropout),
        _without("depth", "its second LSTM layer", build=_one_layer),
        _with("noise-reduction", "noise turned down by 12 dB before the features", **_features(noise_reduction_db=12)),
        _with("more-copies", "three copies of every recording in place of one", **_training(views=3)),
    )
}
