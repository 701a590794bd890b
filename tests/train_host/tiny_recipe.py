"""Recipes for trainings that last seconds."""

from dataclasses import replace

from train_host.recipes import Recipe


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
