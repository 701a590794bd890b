"""Bundles for tests: copies of the one that ships with the project, changed and made whole again."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from signals import talk

from edge.bundle import (
    CARD,
    GOLDEN,
    MANIFEST,
    MODEL,
    Bundle,
    Manifest,
    StreamModel,
    WindowModel,
    default_bundle_path,
    load_bundle,
)
from edge.classifier import load_runtime
from edge.config import demo_path
from edge.events import Detection
from edge.frontend import FrontEnd
from edge.pipeline import Pipeline, golden_probabilities


def copy_bundle(folder: Path) -> Path:
    """A copy of the default bundle in `folder`, to be damaged."""
    return shutil.copytree(default_bundle_path(), folder / "bundle")


def edit(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest as JSON."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def fix_hashes(bundle: Path) -> None:
    """Make the manifest agree with what the files are now."""
    hashes = {name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in (MODEL, GOLDEN, CARD)}
    edit(bundle, lambda manifest: manifest.update(files=hashes))


def write_bundle(folder: Path, manifest: Manifest, model: bytes, samples: NDArray[np.int16]) -> Bundle:
    """A whole bundle in `folder`: what `model` says of `samples` now is its golden answer."""
    folder.mkdir(parents=True)
    (folder / MODEL).write_bytes(model)
    (folder / CARD).write_text("A bundle made by a test.\n")
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    as_float = samples.astype(np.float32) / np.float32(32768)
    np.savez_compressed(
        folder / GOLDEN,
        samples=samples,
        features=np.concatenate(
            FrontEnd(manifest.features, manifest.gate, manifest.model.chunk_frames).segments(as_float)
        ),
        probabilities=golden_probabilities(Bundle(folder, manifest, model), as_float),
    )
    fix_hashes(folder)
    return load_bundle(folder)


def untrained_window_bundle(folder: Path) -> Bundle:
    """A whole bundle in `folder` of the window form: an LSTM as it is before training, converted as an export does.

    Skips the test where tensorflow is not installed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed")
    from train_host.recipes import find_recipe

    recipe = find_recipe("lstm128")
    n = recipe.features.n_features
    tensors, model = _untrained("lstm128")
    shipped = load_bundle(default_bundle_path()).manifest
    manifest = msgspec.structs.replace(
        shipped,
        name="window",
        features=recipe.features,
        normalizer=msgspec.structs.replace(shipped.normalizer, mean=(0.0,) * n, std=(5.0,) * n, running=(False,) * n),
        model=tensors,
    )
    samples = np.round(32767 * talk()).astype(np.int16)
    return write_bundle(folder, manifest, model, samples)


def untrained_hearing_bundle(folder: Path) -> Bundle:
    """A whole bundle in `folder` of the default recipe as it is before training, which hears whether anybody speaks."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed")
    from train_host.recipes import find_recipe

    recipe = find_recipe("tonelight")
    n = recipe.features.n_features
    tensors, model = _untrained("tonelight")
    shipped = load_bundle(default_bundle_path()).manifest
    normalizer = msgspec.structs.replace(shipped.normalizer, mean=(0.0,) * n, std=(5.0,) * n, running=(False,) * n)
    manifest = msgspec.structs.replace(
        shipped, name="hearing", features=recipe.features, normalizer=normalizer, model=tensors
    )
    return write_bundle(folder, manifest, model, np.round(32767 * talk()).astype(np.int16))


@functools.cache
def _untrained(recipe: str) -> tuple[StreamModel | WindowModel, bytes]:
    from train_host.convert import convert
    from train_host.recipes import find_recipe

    with TemporaryDirectory() as folder:
        tensors = convert(find_recipe(recipe), None, "dynamic", None, Path(folder))
        return tensors, (Path(folder) / MODEL).read_bytes()


def with_constants(model: bytes, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> bytes:
    """The TFLite model with its float constants (biases, and weights that are not quantized) changed in place."""
    interpreter = load_runtime()[0](model_content=model)
    interpreter.allocate_tensors()
    fed = {detail["index"] for detail in interpreter.get_input_details()}
    n_changed = 0
    for detail in interpreter.get_tensor_details():
        if detail["dtype"] is not np.float32 or detail["index"] in fed:
            continue
        try:
            constant = interpreter.get_tensor(detail["index"])
        except ValueError:  # computed, and not there yet
            continue
        before = constant.tobytes()
        if constant.size >= 8 and model.count(before) == 1:
            after = np.asarray(change(constant), np.float32).tobytes()
            assert len(after) == len(before)
            model = model.replace(before, after)
            n_changed += 1
    assert n_changed
    return model


@functools.cache
def n_in_demo() -> int:
    """Stretches of speech that the shipped model hears in the demo recording: not everything is a voice to it."""
    samples = soundfile.read(demo_path(), dtype="float32")[0]
    pipeline = Pipeline(load_bundle(default_bundle_path()))
    return sum(isinstance(event, Detection) for event in [*pipeline.push(samples), *pipeline.flush()])
