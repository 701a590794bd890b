from collections import Counter
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from tiny_recipe import tiny  # noqa: E402

from edge.labels import EMOTIONS  # noqa: E402
from edge.normalize import Normalizer  # noqa: E402
from train_host.batches import Batches, fit_normalizer, label_mask, pad  # noqa: E402
from train_host.corpora.clip import Clip  # noqa: E402
from train_host.dataset import Example  # noqa: E402
from train_host.recipes import RECIPES  # noqa: E402

STREAM, WINDOW = RECIPES["tonelight"], RECIPES["lstm128"]
N = STREAM.features.n_features


def example(
    corpus: str, emotion: str, n_frames: int = 60, n_features: int = N, seed: int = 0, voice: int = 0
) -> Example:
    rng = np.random.default_rng([seed, n_frames, *corpus.encode(), *emotion.encode()])
    clip = Clip(Path(f"{corpus}-{emotion}-{seed}.wav"), corpus, f"s{voice}", None, None, emotion, emotion)
    return Example((3 + 2 * rng.standard_normal((n_frames, n_features))).astype(np.float16), clip)


# a corpus of nine voices that is mostly sad and knows two emotions, and one voice with three
EXAMPLES = [
    *(example("large", "sad", 30 + i, seed=i, voice=i % 9) for i in range(90)),
    *(example("large", "angry", 30 + i, seed=i) for i in range(10)),
    *(example("small", emotion, 50, seed=i) for emotion in EMOTIONS[:3] for i in range(200)),
]


def batches(seed: int = 0, **training) -> Batches:
    recipe = tiny(STREAM, **training)
    return Batches(EXAMPLES, recipe, fit_normalizer(EXAMPLES, recipe), seed, 100)


def arrays(batch) -> list[np.ndarray]:
    (features, valid), targets = batch
    return [features, valid, targets]


def test_shapes():
    features, valid, targets = arrays(batches(batch_size=5, crop_frames=48)[0])
    assert (features.shape, valid.shape, targets.shape) == ((5, 48, N), (5, 6), (5, 9))
    assert {features.dtype, valid.dtype, targets.dtype} == {np.dtype(np.float32)}
    assert len(batches()) == 100


def test_a_step_is_the_same_whatever_was_asked_for_before():
    in_order, backwards = batches(), batches()
    forward = [arrays(in_order[i]) for i in range(3)]
    back = [arrays(backwards[i]) for i in (2, 1, 0)][::-1]
    resumed = batches()
    resumed.first_step = 2
    for a, b in [*zip(forward, back, strict=True), (forward[2], arrays(resumed[0]))]:
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_steps_and_seeds_differ():
    first, second, other = batches()[0], batches()[1], batches(seed=1)[0]
    assert not np.array_equal(arrays(first)[0], arrays(second)[0])
    assert not np.array_equal(arrays(first)[0], arrays(other)[0])


def test_masks_say_which_emotions_a_corpus_has():
    masks = label_mask(EXAMPLES)
    assert {corpus: [EMOTIONS[i] for i in np.flatnonzero(mask)] for corpus, mask in masks.items()} == {
        "large": ["sad", "angry"],
        "small": ["neutral", "calm", "happy"],
    }


def test_targets_are_one_emotion_each():
    _, _, targets = arrays(batches(batch_size=64)[0])
    assert targets[:, :8].sum(axis=1).tolist() == [1] * 64
    assert targets[:, 8].tolist() == [1] * 64
    assert set(np.flatnonzero(targets[:, :8].sum(axis=0))) == {EMOTIONS.index(one.clip.emotion) for one in EXAMPLES}


def test_neither_the_large_corpus_nor_its_common_emotion_wins_by_numbers():
    drawn: Counter = Counter()
    source = batches(batch_size=100, crop_frames=8)
    for step in range(20):
        _, _, targets = arrays(source[step])
        drawn.update(EMOTIONS[int(row[:8].argmax())] for row in targets)
    n_large = drawn["sad"] + drawn["angry"]
    # by the square root of 9 and 1 voices: 3 to 1; 2000 draws, four standard deviations are 3.9%
    assert n_large / 2000 == pytest.approx(3 / 4, abs=0.039)
    assert drawn["angry"] / n_large == pytest.approx(1 / 2, abs=0.055)
    n_small = 2000 - n_large
    for emotion in EMOTIONS[:3]:
        assert drawn[emotion] / n_small == pytest.approx(1 / 3, abs=0.1)


def test_a_tenth_are_scenes_in_which_nobody_speaks():
    recipe = tiny(STREAM, batch_size=100)
    scenes = [np.full((70, N), 3, np.float16)]
    source = Batches(EXAMPLES, recipe, fit_normalizer(EXAMPLES, recipe), 0, 100, scenes)
    targets = np.concatenate([arrays(source[i])[2] for i in range(10)])
    silent = targets[:, -1] == 0
    assert silent.mean() == pytest.approx(0.1, abs=0.03)
    assert not targets[silent].any()
    assert (targets[~silent][:, :8].sum(axis=1) == 1).all()
    assert arrays(batches()[0])[2][:, -1].all()  # without scenes, all is speech


def test_long_segments_are_cropped_and_short_ones_padded_on_the_right():
    features, valid, _ = arrays(batches(batch_size=64, crop_frames=80)[0])
    n_steps = valid.sum(axis=1).astype(int)
    assert n_steps.min() < 10 <= n_steps.max() == 10
    for row, n in zip(range(64), n_steps, strict=True):
        assert valid[row].tolist() == [1] * n + [0] * (10 - n)
        frames = np.flatnonzero(features[row].any(axis=1))
        assert n == (frames[-1] + 1) // 8
        assert frames.tolist() == list(range(len(frames)))


def test_pad_gives_a_window_model_its_features_alone():
    sequence = np.ones((7, 15), np.float32)
    padded = pad([sequence], 300, WINDOW)
    assert padded.shape == (1, 300, 15)
    assert padded[0].sum(axis=1).tolist() == [15] * 7 + [0] * 293


def test_normaliser_has_the_mean_and_deviation_of_all_frames():
    config = fit_normalizer(EXAMPLES, STREAM)
    rows = np.concatenate([one.features for one in EXAMPLES]).astype(np.float64)
    np.testing.assert_allclose(config.mean, rows.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(config.std, rows.std(axis=0), atol=1e-6)
    assert not any(config.running)
    config.check(N)


def test_a_column_that_never_changes_can_still_be_scaled():
    flat = Example(np.ones((10, N), np.float16), EXAMPLES[0].clip)
    config = fit_normalizer([flat], STREAM)
    config.check(N)
    assert np.isfinite(Normalizer(config, 10).push(flat.features.astype(np.float32))).all()
