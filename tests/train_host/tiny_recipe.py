"""Recipes for trainings that last seconds."""

from dataclasses import replace
from pathlib import Path

import msgspec

from train_host.recipes import Recipe, find_recipe
from train_host.recipes.digest import recipe_digest


def tiny(recipe: Recipe, **training) -> Recipe:
    """The recipe, trained for seconds instead of hours; features, gate and network as they are."""
    short = {
        "steps": 60,
        "batch_size": 16,
        "crop_frames": 96,
        "learning_rate": 4e-3,
        "average": 0.9,
        "views": 0,
        "n_scenes": 5 * recipe.hears_speech,
    }
    return replace(recipe, training=replace(recipe.training, **{**short, **training}))


def pass_for_whole(run: Path) -> None:
    """Have a finished run of a tiny recipe taken for one of the whole recipe of that name, to export or adapt it."""
    from train_host.train import RUN, RunInfo

    info = msgspec.json.decode((run / RUN).read_bytes(), type=RunInfo)
    whole = msgspec.structs.replace(info, digest=recipe_digest(find_recipe(info.recipe)))
    (run / RUN).write_bytes(msgspec.json.encode(whole))
