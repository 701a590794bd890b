import numpy as np
import pytest

keras = pytest.importorskip("keras")

from train_host import model, statistics  # noqa: E402

F = 3
STRIDE = model.STRIDE


def features(n_frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_frames, F)).astype(np.float32)


def found(frames: np.ndarray, n_steps: int | None = None) -> np.ndarray:
    valid = (np.arange(len(frames) // STRIDE) < (len(frames) // STRIDE if n_steps is None else n_steps)).astype("f4")
    return np.asarray(statistics.StreamableStatistics()(frames[None], valid[None]))[0].reshape(5, F)


def test_the_five_statistics_are_what_they_are_called():
    frames = features(80)
    steps = frames.reshape(10, STRIDE, F).mean(axis=1)
    mean, deviation, moved, slow_deviation, slow_moved = found(frames)
    np.testing.assert_allclose(mean, frames.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(deviation, np.sqrt(frames.var(axis=0) + statistics.LEAST_VARIANCE), atol=1e-5)
    np.testing.assert_allclose(moved, np.abs(np.diff(frames, axis=0)).sum(axis=0) / 80, atol=1e-6)
    np.testing.assert_allclose(slow_deviation, np.sqrt(steps.var(axis=0) + statistics.LEAST_VARIANCE), atol=1e-5)
    np.testing.assert_allclose(slow_moved, np.abs(np.diff(steps, axis=0)).sum(axis=0) / 10, atol=1e-6)


def test_padding_counts_for_nothing():
    frames = features(48)
    padded = np.concatenate([frames, 100 * features(32, seed=1)])
    np.testing.assert_allclose(found(padded, 6), found(frames), atol=1e-6)
    assert np.isfinite(found(padded, 0)).all()


def test_one_network_of_two_says_the_mean_of_both():
    keras.utils.set_random_seed(0)
    first = model.build(F, units=8, n_layers=1, n_heads=2, dropout=0.3, hears_speech=True)
    second = statistics.build(F, units=(6, 5), dropout=0.2)
    rng = np.random.default_rng(0)
    for part in (first, second):
        part.set_weights(
            [np.abs(w + 0.3 * rng.standard_normal(w.shape)).astype(np.float32) for w in part.get_weights()]
        )
    inputs = [features(64)[None], np.ones((1, 8), np.float32)]
    a, b, both = (np.asarray(network(inputs))[0] for network in (first, second, statistics.join(first, second)))
    np.testing.assert_allclose(both[:8], (a[:8] + b) / 2, atol=1e-5)
    np.testing.assert_allclose(both[8], a[8], atol=1e-5)
