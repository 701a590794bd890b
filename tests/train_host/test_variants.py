"""Each variant of the default lacks one ingredient or has one more, and can be trained."""

from dataclasses import fields

import pytest

from edge.features import FeatureExtractor
from train_host.errors import RecipeError
from train_host.recipes import RECIPES, VARIANTS, find_recipe
from train_host.recipes.digest import recipe_digest
from train_host.recipes.variants import PREFIX

every = pytest.mark.parametrize("recipe", VARIANTS.values(), ids=VARIANTS)
DEFAULT = RECIPES["tonelight"]


@every
def test_a_variant_is_found_by_its_name_and_is_no_recipe_of_its_own(recipe):
    assert recipe.name.startswith((f"{PREFIX}out-", f"{PREFIX}-"))
    assert recipe.name not in RECIPES
    assert find_recipe(recipe.name) is recipe


@every
def test_a_variant_is_another_form_than_the_default(recipe):
    FeatureExtractor(recipe.features)
    names = [one.name for one in fields(recipe) if getattr(recipe, one.name) != getattr(DEFAULT, one.name)]
    assert names[:2] == ["name", "summary"]
    # what a network hears and what it has an output for go together
    assert len(names) == 3 or names[2:] == ["build", "training"]


def test_an_unknown_variant_is_refused_with_those_there_are():
    with pytest.raises(RecipeError, match=r"no recipe 'tonelight-without-x'; there are: tonelight-without-pitch, "):
        find_recipe("tonelight-without-x")


def test_no_two_forms_are_the_same():
    digests = [recipe_digest(recipe) for recipe in (DEFAULT, *VARIANTS.values())]
    assert len(set(digests)) == len(digests)


@every
def test_a_variant_has_a_logit_of_speech_if_it_is_trained_on_scenes(recipe):
    pytest.importorskip("keras")
    model = recipe.build(recipe.features.n_features)
    assert model.output_shape == (None, 8 + recipe.hears_speech)
