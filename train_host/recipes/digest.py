"""Forms of a recipe: under one name it can be another model tomorrow."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from dataclasses import asdict
from pathlib import Path

import msgspec

from train_host.recipes.recipe import Recipe
from train_host.recipes.tonelight import TONELIGHT
from train_host.recipes.variants import VARIANTS

_HERE = Path(__file__).parents[1]


def recipe_digest(recipe: Recipe) -> str:
    """Tells two forms of a recipe of the same name apart: its settings, its network, and how that is trained."""
    features = msgspec.to_builtins(recipe.features)
    if not features["noise_reduction_db"]:
        del features["noise_reduction_db"]  # off, features are what they were before there was any
    # what a recipe does without may change
    files = ["batches.py", *(["perturb.py"] if recipe.training.perturbed else []), "scenes.py"]
    settings = [
        features,
        msgspec.to_builtins(recipe.gate),
        asdict(recipe.training),
        [recipe.form, recipe.window_frames],
        _source(recipe),
        _code(_HERE / ("model.py" if recipe.form == "stream" else "field_models.py")),
        *(_code(_HERE / name) for name in files),
        _code(_HERE / "train.py", "compile_model", "loss_of"),
    ]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]


def _source(recipe: Recipe) -> str:
    """What builds the network; of a variant that only changes an argument, the function that it calls as well."""
    is_call = recipe.name in VARIANTS and recipe.build is not TONELIGHT.build
    try:
        return inspect.getsource(recipe.build) + (inspect.getsource(TONELIGHT.build) if is_call else "")
    except OSError:  # written at a prompt, it is in no file
        return recipe.build.__code__.co_code.hex()


def _code(path: Path, *functions: str) -> str:
    """What a file, or these functions of it, do: comments, docstrings and layout taken out."""
    tree = ast.parse(path.read_bytes())
    if functions:
        tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in functions]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            is_text = [isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in node.body]
            node.body = [one for one, text in zip(node.body, is_text, strict=True) if not text]
    return ast.dump(tree)
