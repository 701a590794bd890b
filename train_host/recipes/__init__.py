"""Recipes: a network together with everything that it must be trained and deployed with."""

from __future__ import annotations

from typing import Final

from train_host.errors import RecipeError
from train_host.recipes.field import FIELD
from train_host.recipes.recipe import GATE, Recipe, Training
from train_host.recipes.tonelight import TONELIGHT
from train_host.recipes.variants import PREFIX, VARIANTS

__all__ = ["GATE", "RECIPES", "VARIANTS", "Recipe", "Training", "find_recipe"]

RECIPES: Final = {recipe.name: recipe for recipe in (TONELIGHT, *FIELD)}


def find_recipe(name: str) -> Recipe:
    """One of `RECIPES`, or of `VARIANTS` of the default. Raises RecipeError, naming those there are."""
    known = VARIANTS if name.startswith(PREFIX) else RECIPES
    if name not in known:
        raise RecipeError(f"no recipe {name!r}; there are: {', '.join(known)}")
    return known[name]
