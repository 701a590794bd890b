import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from train_host import model  # noqa: E402
from train_host.recipes import RECIPES  # noqa: E402

F = 6


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return model.build(F, units=16, n_layers=2, n_heads=3, dropout=0.3, hears_speech=True)


def features(n_frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, n_frames, F)).astype(np.float32)


def answer(network, frames: np.ndarray, n_valid: int) -> np.ndarray:
    valid = (np.arange(frames.shape[1] // model.STRIDE) < n_valid).astype(np.float32)
    return np.asarray(network([frames, valid[None]]))[0]


def test_what_comes_after_the_end_changes_nothing(network):
    whole = features(128)
    padded = np.concatenate([whole, 100 * features(64, seed=1)], axis=1)
    np.testing.assert_allclose(answer(network, whole, 16), answer(network, padded, 16), atol=1e-5)
    assert np.abs(answer(network, whole, 16) - answer(network, padded, 24)).max() > 1e-2


def test_padding_alone_gives_a_finite_answer(network):
    assert np.isfinite(answer(network, 0 * features(16), 0)).all()


def test_every_step_sees_its_own_frames_and_those_before(network):
    steps = keras.Model(network.inputs[0], network.get_layer("stem").output)
    frames = features(80)
    plain = np.asarray(steps(frames))[0]
    touched = frames.copy()
    touched[0, 32] += 1
    changed = np.abs(np.asarray(steps(touched))[0] - plain).max(axis=1) > 1e-6
    assert np.flatnonzero(changed).tolist() == [4, 5]


def test_the_recurrence_looks_back_only(network):
    steps = keras.Model(network.inputs[0], network.get_layer("residual_1").output)
    frames = features(80)
    touched = frames.copy()
    touched[0, 32] += 1
    difference = np.abs(np.asarray(steps(frames)) - np.asarray(steps(touched)))[0].max(axis=1)
    assert (difference[:4] == 0).all()
    assert (difference[4:] > 0).all()


def test_pooling_by_hand():
    pooling = model.StreamablePooling(1)
    steps = np.array([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]], np.float32)
    valid = np.array([[1.0, 1.0, 0.0]], np.float32)
    pooling.build(steps.shape, valid.shape)
    pooling.set_weights([np.array([[1.0], [0.0]], np.float32)])
    scores = 4 * np.tanh(np.array([1.0, 3.0]) / 4)
    share = np.exp(scores) / np.exp(scores).sum()
    expected = [*(share @ steps[0, :2]), 2.0, 4.0]
    np.testing.assert_allclose(np.asarray(pooling(steps, valid))[0], expected, rtol=1e-5)


def test_the_network_survives_being_saved(network, tmp_path):
    path = tmp_path / "network.keras"
    network.save(path)
    again = keras.models.load_model(path)
    np.testing.assert_allclose(answer(again, features(32), 8), answer(network, features(32), 8), atol=1e-6)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_lstm_is_one_that_cudnn_takes(recipe):
    network = recipe.build(recipe.features.n_features)
    lstms = [layer for layer in network.layers if isinstance(layer, keras.layers.LSTM)]
    assert bool(lstms) == (recipe.name not in ("cnn", "functionals"))
    for lstm in lstms:
        config = lstm.get_config()
        assert (config["activation"], config["recurrent_activation"]) == ("tanh", "sigmoid")
        assert config["use_bias"]
        assert config["recurrent_dropout"] == 0
        assert not config["unroll"]
        assert lstm.use_cudnn in ("auto", True)
        # padding that only partly reaches a kernel, or on JAX any mask, means the slow one
        assert getattr(lstm.input, "_keras_mask", None) is None
    assert not [layer for layer in network.layers if isinstance(layer, keras.layers.Masking)]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")
def test_the_network_trains_on_jax_too():
    code = """
import numpy as np, keras
from train_host import train
from train_host.recipes import RECIPES
recipe = RECIPES["tonelight"]
n = recipe.features.n_features
model = recipe.build(n)
train.compile_model(model, recipe, 10)
targets = np.concatenate([np.eye(8)[[0, 1]], np.ones((2, 1))], axis=1).astype("float32")
loss = model.train_on_batch([np.ones((2, 32, n), "float32"), np.ones((2, 4), "float32")], targets)
print(keras.backend.backend(), np.isfinite(loss))
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["jax", "True"]
