from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edge.features import dct_matrix  # noqa: E402
from edge.labels import EMOTIONS  # noqa: E402
from train_host import model, statistics  # noqa: E402
from train_host.batches import fit_normalizer  # noqa: E402
from train_host.corpora.clip import Clip  # noqa: E402
from train_host.dataset import Example  # noqa: E402
from train_host.recipes import RECIPES  # noqa: E402
from train_host.train import loss_of  # noqa: E402

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


# --- training ---------------------------------------------------------------------------------------------------------

RECIPE = RECIPES["tonelight"]
N = RECIPE.features.n_features


def example(emotion: str, corpus: str = "one", voice: int = 0, seed: int = 0, n_frames: int = 80) -> Example:
    """Emotions differ in how far the columns spread, and in nothing else."""
    rng = np.random.default_rng([seed, EMOTIONS.index(emotion)])
    spread = 1 + EMOTIONS.index(emotion)
    clip = Clip(Path(f"{corpus}-{emotion}-{seed}.wav"), corpus, f"s{voice}", None, None, emotion, emotion)
    return Example((3 + spread * rng.standard_normal((n_frames, N))).astype(np.float16), clip)


def trained(examples: list[Example], n_steps: int, seed: int = 0):
    keras.utils.set_random_seed(seed)
    network = statistics.build(N, units=(16, 16), dropout=0.2)
    normalizer = fit_normalizer(examples, RECIPE)
    done = []
    statistics.fit(network, examples, RECIPE, normalizer, seed, n_steps, loss_of(0.1), done.append)
    return network, normalizer, sum(done)


def test_it_learns_what_only_statistics_tell_and_the_same_each_time():
    examples = [example(emotion, seed=seed) for emotion in ("neutral", "sad", "fearful") for seed in range(20)]
    network, normalizer, n_done = trained(examples, n_steps=300)
    assert n_done == 300
    unheard = [example(emotion, seed=100 + seed) for emotion in ("neutral", "sad", "fearful") for seed in range(5)]
    vectors = statistics.statistics_of(network, unheard, RECIPE, normalizer)
    rest = keras.Model(network.get_layer("averages").output, network.output)
    answers = np.asarray(rest(vectors)).argmax(axis=1)
    n_right = sum(EMOTIONS[i] == one.clip.emotion for i, one in zip(answers, unheard, strict=True))
    assert n_right >= 12  # of 15; 5 by chance
    again, _, _ = trained(examples, n_steps=300)
    for a, b in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_statistics_come_in_the_order_of_the_examples():
    examples = [example("sad", seed=seed, n_frames=n) for seed, n in enumerate((90, 17, 200, 40))]
    network, normalizer, _ = trained(examples, n_steps=1)
    together = statistics.statistics_of(network, examples, RECIPE, normalizer)
    apart = [statistics.statistics_of(network, [one], RECIPE, normalizer)[0] for one in examples]
    np.testing.assert_allclose(together, apart, atol=1e-4)


def draws(examples: list[Example], recipe=RECIPE):
    normalizer = fit_normalizer(examples, recipe)
    vectors = np.zeros((len(examples), 5 * N), np.float32)
    return statistics._Draws(vectors, examples, recipe, normalizer, 0, 40), normalizer


def test_corpora_are_drawn_by_the_root_of_their_voices_and_emotions_evenly():
    examples = [example("sad", "large", voice=i % 9, seed=i) for i in range(90)]
    examples += [example("angry", "large", seed=i) for i in range(10)]
    examples += [example("happy", "small", seed=i) for i in range(300)]
    drawn, _ = draws(examples)
    counts = np.sum([drawn[i][1].sum(axis=0) for i in range(40)], axis=0)
    assert counts[-1] == 40 * statistics.BATCH  # all of them speech
    shares = counts[:-1] / counts[-1]
    assert shares[EMOTIONS.index("sad")] == pytest.approx(3 / 8, abs=0.03)
    assert shares[EMOTIONS.index("angry")] == pytest.approx(3 / 8, abs=0.03)
    assert shares[EMOTIONS.index("happy")] == pytest.approx(1 / 4, abs=0.03)
    np.testing.assert_array_equal(drawn[7][0], drawn[7][0])
    assert np.abs(drawn[7][0] - drawn[8][0]).max() > 0


def test_a_microphone_of_another_colour_moves_the_means_of_the_spectrum_and_nothing_else():
    drawn, normalizer = draws([example("sad", seed=i) for i in range(3)])
    vectors, _ = drawn[0]
    columns = RECIPE.features.slices["mfcc"]
    assert not vectors[:, N:].any()
    assert not np.delete(vectors[:, :N], np.arange(N)[columns], axis=1).any()
    curves = vectors[:, columns] * np.asarray(normalizer.std, np.float32)[columns] @ dct_matrix(40, 40).T
    assert 0.5 < np.abs(curves).max() < 3
    np.testing.assert_allclose(curves.mean(axis=1), 0, atol=1e-3)  # the level is kept
    plain, _ = draws([example("sad")], replace(RECIPE, training=replace(RECIPE.training, perturbed=())))
    assert not plain[0][0].any()
