"""One training on two devices, which JAX makes of one processor, trains the same network; and who computes the LSTM."""

import csv
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras")

import keras

from train_host.devices import uses_cudnn
from train_host.recipes import RECIPES

TRAIN = """
import io, sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from tiny_recipe import tiny

from train_host import model
from train_host.corpora.clip import Clip
from train_host.dataset import Example, Sounds
from train_host.devices import shared_batches
from train_host.folds import Split
from train_host.recipes import RECIPES
from train_host.train import Data, load_model, train

def build(n_features):
    return model.build(n_features, units=8, n_layers=1, n_heads=1, dropout=0.1, hears_speech=False)

recipe = tiny(RECIPES["tonelight"], steps=20, batch_size=8, crop_frames=64, n_scenes=0)
recipe = RECIPES["small"] = replace(recipe, name="small", build=build)
rng = np.random.default_rng(0)

def example(i, speaker):
    emotion = ("sad", "angry")[i % 2]
    features = rng.standard_normal((80, recipe.features.n_features)) + (i % 2)
    return Example(features.astype(np.float16), Clip(Path(f"{i}.wav"), "own", speaker, None, None, emotion, emotion))

# as many to validate on as do not divide among two devices
data = Data([example(i, "a") for i in range(20)], [example(i, "b") for i in range(5)], {}, 0)
split = Split("own", tuple(e.clip for e in data.train), tuple(e.clip for e in data.val), (), (), "")

def go(run):
    train(run, recipe, split, Sounds([], []), 0, Console(file=io.StringIO()), checkpoint_steps=10, data=data)

folder = Path(sys.argv[1])
go(folder / "whole")
savez = np.savez

def stop(path, **arrays):
    if "logits" in arrays:  # after the last checkpoint, before the end
        raise KeyboardInterrupt
    savez(path, **arrays)

np.savez = stop
try:
    go(folder / "resumed")
except KeyboardInterrupt:
    np.savez = savez
    go(folder / "resumed")
with shared_batches(8):
    _, _, network = load_model(folder / "whole")
print(len(keras.distribution.list_devices()), len(network.weights[0].value.sharding.device_set))
# what follows a training, as measuring, is nobody's concern
assert keras.distribution.distribution() is None
"""


def trained(folder: Path, n_devices: int) -> tuple[list[dict[str, float]], list[np.ndarray]]:
    """History and weights of a training that was told on how many devices it ran, and of one that was interrupted."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={n_devices}",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
    }
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(n_devices)] * 2
    with (folder / "whole" / "history.csv").open(newline="") as file:
        history = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return history, weights(folder / "whole")


def weights(run: Path) -> list[np.ndarray]:
    with np.load(run / "weights.npz") as file:
        return [file[name] for name in sorted(file.files)]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")
def test_two_devices_train_what_one_trains(tmp_path):
    history, one = trained(tmp_path / "one", 1)
    shared_history, two = trained(tmp_path / "two", 2)
    assert [row["step"] for row in shared_history] == [row["step"] for row in history] == [10, 20]
    for mine, theirs in zip(shared_history, history, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    for mine, theirs in zip(two, one, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)
    for mine, whole in zip(weights(tmp_path / "two" / "resumed"), two, strict=True):
        np.testing.assert_allclose(mine, whole, atol=1e-5)


CUDNN = """
import sys
import jaxlib.gpu_rnn
import keras
import numpy as np
from train_host.devices import uses_cudnn
from train_host.recipes import RECIPES

recipe = RECIPES["tonelight"]
network = recipe.build(recipe.features.n_features)
inputs = [np.zeros((4, 64, recipe.features.n_features), "float32"), np.ones((4, 8), "float32")]
print(not all(device.startswith("cpu") for device in keras.distribution.list_devices()), uses_cudnn(network, inputs))
# as on a machine with a GPU, as far as the network's form goes: nothing is computed
sys.modules["keras.src.backend.jax.rnn"]._is_gpu_available = lambda: True
jaxlib.gpu_rnn.compute_rnn_workspace_reserve_space_sizes = lambda *sizes: (1, 1)
print(uses_cudnn(network, inputs))
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")
def test_on_jax_the_lstm_is_cudnns_where_there_is_a_gpu_and_only_there():
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", CUDNN], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    has_gpu, is_cudnns, is_in_its_form = done.stdout.split()
    assert is_cudnns == has_gpu
    assert is_in_its_form == "True"


def test_on_tensorflow_the_lstm_is_cudnns_where_there_is_a_gpu_and_only_there():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("another backend")
    recipe = RECIPES["tonelight"]
    inputs = [np.zeros((4, 64, recipe.features.n_features), np.float32), np.ones((4, 8), np.float32)]
    has_gpu = not all(device.startswith("cpu") for device in keras.distribution.list_devices())
    assert uses_cudnn(recipe.build(recipe.features.n_features), inputs) == has_gpu
