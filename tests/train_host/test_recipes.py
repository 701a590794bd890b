import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import train_host
from edge.features import FeatureExtractor
from edge.gate import Gate
from train_host.errors import RecipeError
from train_host.recipes import RECIPES, find_recipe

every = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


@every
def test_settings_can_be_computed(recipe):
    recipe.features.check()
    recipe.gate.check()
    FeatureExtractor(recipe.features)
    Gate(recipe.gate, recipe.features.hop_ms)


@every
def test_training_fits_the_form(recipe):
    training = recipe.training
    assert RECIPES[recipe.name] is recipe
    assert training.steps > 0
    assert training.batch_size > 0
    assert 0 <= training.average < 1
    assert 0 <= training.label_smoothing < 1
    # a window model has one length; a stream model takes whole steps
    assert training.crop_frames == recipe.window_frames if recipe.form == "window" else training.crop_frames % 4 == 0


@every
def test_network_has_the_shapes_of_its_form(recipe):
    pytest.importorskip("keras")
    n = recipe.features.n_features
    model = recipe.build(n)
    assert model.output_shape == (None, 8 + recipe.hears_speech)
    if recipe.form == "window":
        assert model.input_shape == (None, recipe.window_frames, n)
    else:
        assert model.input_shape == [(None, None, n), (None, None)]
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_the_recipes_there_are():
    names = ["tonelight", "lstm128", "lstm256", "lstm2x64", "cnn", "cnn_lstm", "lfb_lstm", "functionals"]
    assert list(RECIPES) == names


@every
def test_a_window_is_about_three_seconds(recipe):
    if recipe.form == "window":
        assert 3.0 <= recipe.window_frames * recipe.features.hop_ms / 1000 <= 3.2


def test_recipes_can_be_listed_where_keras_is_not_installed():
    code = "import sys; sys.modules['keras'] = None; from train_host.recipes import RECIPES; print(*RECIPES)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(RECIPES)


def test_an_unknown_recipe_is_refused_with_the_names_there_are():
    with pytest.raises(RecipeError, match=r"no recipe 'tonelihgt'; there are: tonelight, lstm128, lstm256"):
        find_recipe("tonelihgt")


MODULES = (
    *("model", "field_models", "batches", "train", "metrics", "dataset", "scoring"),
    *("recipes/__init__", "recipes/recipe", "recipes/tonelight", "recipes/field"),
)


@pytest.mark.parametrize("module", MODULES)
def test_training_does_not_depend_on_tensorflow(module):
    tree = ast.parse((Path(train_host.__file__).parent / f"{module}.py").read_text())
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imported
    assert not [name for name in imported if name.partition(".")[0] in ("tensorflow", "jax", "torch")]
