import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.features import dct_matrix
from train_host.perturb import MAX_RIPPLE, MAX_TILT, Perturbation, colours, crop, mask, mix_styles, warps
from train_host.recipes import RECIPES

STREAM, WINDOW = RECIPES["tonelight"], RECIPES["lstm128"]
N = STREAM.features.n_features
ALL = STREAM.training.perturbed
CENTRES_HZ = np.geomspace(100, 7500, 40)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def log_mel(n_frames: int = 100, n_bands: int = 40) -> np.ndarray:
    return rng(7).standard_normal((n_frames, n_bands)).astype(np.float32) - 8


def masked(before: np.ndarray, seed: int, n_valid: int | None = None) -> np.ndarray:
    after = before[None].copy()
    mask(after, np.arange(len(before))[None] < (len(before) if n_valid is None else n_valid), rng(seed))
    return after[0]


def test_masks_are_stretches_of_the_bands_means():
    before = log_mel()
    changed_share = []
    for seed in range(50):
        after = masked(before, seed)
        changed = after != before
        means = np.broadcast_to(before.mean(axis=0), before.shape)
        np.testing.assert_allclose(after[changed], means[changed], atol=1e-4)
        whole_frames, whole_bands = changed.all(axis=1), changed.all(axis=0)
        assert whole_frames.sum() <= 40
        assert whole_bands.sum() <= 12
        np.testing.assert_array_equal(changed, whole_frames[:, None] | whole_bands[None, :])
        for line in (whole_frames, whole_bands):
            assert np.abs(np.diff(line.astype(int), prepend=0, append=0)).sum() <= 4  # at most two stretches
        changed_share.append(changed.mean())
    assert 0.1 < np.mean(changed_share) < 0.5
    np.testing.assert_array_equal(masked(before, 1), masked(before, 1))


def test_masks_know_where_a_sequence_ends():
    before = log_mel()
    before[60:] = 1000  # padding is no part of the mean
    after = masked(before, 3, n_valid=60)
    assert after[:60].max() < 100


@given(st.integers(0, 12), st.integers(1, 8), st.integers(0, 1000))
def test_masks_fit_short_sequences(n_frames, n_bands, seed):
    after = masked(log_mel(n_frames, n_bands), seed)
    assert after.shape == (n_frames, n_bands)
    assert np.isfinite(after).all()


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_warp_moves_a_peak_by_its_factor(factor):
    peak_hz = 1000.0
    before = np.exp(-(np.log(CENTRES_HZ / peak_hz)[None, :] ** 2) / 0.02).astype(np.float32).repeat(3, axis=0)
    (matrix,) = warps(CENTRES_HZ, np.array([factor]))
    after = before @ matrix
    assert (after.shape, after.dtype) == (before.shape, np.float32)
    centre_hz = np.exp((after[0] * np.log(CENTRES_HZ)).sum() / after[0].sum())
    assert centre_hz == pytest.approx(peak_hz * factor, rel=0.01)
    if factor == 1:
        np.testing.assert_array_equal(after, before)


def test_warp_repeats_the_outermost_bands():
    ramp = np.arange(40, dtype=np.float32)
    shorter, longer = ramp @ warps(CENTRES_HZ, np.array([0.8, 1.25]))
    assert shorter[-3:].tolist() == [39.0, 39.0, 39.0]
    assert longer[:2].tolist() == [0.0, 0.0]


def test_colours_keep_the_level_and_their_bounds():
    found = colours(200, 40, rng())
    assert (found.shape, found.dtype) == ((200, 40), np.float32)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-5)
    assert 0.5 < np.abs(found).max() <= MAX_TILT + 2 * MAX_RIPPLE
    assert len(np.unique(found, axis=0)) == 200


def styles(sequence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return sequence.mean(axis=0), sequence.std(axis=0)


def test_styles_lie_between_those_of_two_sequences_and_keep_level_and_melody():
    soft, sharp = log_mel(60) * np.linspace(0.2, 1, 40, dtype=np.float32), log_mel(60)[::-1] * 2 + np.sin(np.arange(40))
    batch, valid = np.stack([soft, sharp]).astype(np.float32), np.ones((2, 60), bool)
    is_exchanged = []
    for seed in range(20):
        for before, other, after in zip(batch, batch[::-1], mix_styles(batch, valid, rng(seed)), strict=True):
            assert after.mean() == pytest.approx(before.mean(), abs=1e-4)
            low, high = np.sort([styles(before)[1], styles(other)[1]], axis=0)
            assert (low - 0.01 <= styles(after)[1]).all()
            assert (styles(after)[1] <= high + 0.01).all()
            for band in (0, 20, 39):
                assert np.corrcoef(before[:, band], after[:, band])[0, 1] > 0.999
            is_exchanged.append(not np.allclose(before, after, atol=0.05))
    assert 0.2 < np.mean(is_exchanged) < 1


def test_styles_know_where_a_sequence_ends():
    batch = np.stack([log_mel(50), log_mel(50) * 3])
    valid = np.arange(50) < np.array([50, 20])[:, None]
    padded = batch.copy()
    padded[1, 20:] = 1000
    np.testing.assert_allclose(
        mix_styles(batch, valid, rng(2))[valid], mix_styles(padded, valid, rng(2))[valid], rtol=1e-4, atol=1e-4
    )


def test_nothing_is_changed_that_was_not_asked_for():
    features = rng().standard_normal((4, 60, N)).astype(np.float32)
    valid = np.ones((4, 60), bool)
    assert np.array_equal(Perturbation(STREAM.features, ())(features, valid, rng()), features)
    found = [Perturbation(STREAM.features, (one,))(features, valid, rng(3)) for one in ALL]
    assert len({one.tobytes() for one in [features, *found]}) == 5


def test_a_crop_is_a_stretch_at_another_tempo():
    clock = np.arange(300, dtype=np.float16)[:, None].repeat(2, axis=1)
    starts, speeds = [], []
    for seed in range(200):
        out = crop(clock, 100, rng(seed))
        assert (out.shape, out.dtype) == ((100, 2), np.float32)
        assert (np.diff(out[:, 0]) >= 0).all()
        starts.append(out[0, 0])
        speeds.append((out[-1, 0] - out[0, 0]) / 99)
    assert min(starts) < 20
    assert max(starts) > 150
    assert 0.86 < min(speeds) < 0.9
    assert 1.1 < max(speeds) < 1.16


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 1000))
def test_a_crop_of_what_is_short_is_all_of_it(n, n_frames, seed):
    out = crop(np.arange(n, dtype=np.float16)[:, None], n_frames, rng(seed))
    assert 1 <= len(out) <= n_frames
    if n * 1.15 < n_frames:
        assert out[0, 0] == 0
        assert out[-1, 0] >= n - 3
    assert np.isin(out, np.arange(n)).all()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("n_frames", [1, 2, 15, 200])
def test_perturbed_features_keep_their_shape_and_stay_finite(recipe, n_frames):
    perturb = Perturbation(recipe.features, ALL)
    features = rng().standard_normal((3, n_frames, recipe.features.n_features)).astype(np.float32)
    valid = np.arange(n_frames) < np.array([n_frames, (n_frames + 1) // 2, 0])[:, None]
    before = features.copy()
    out = perturb(features, valid, rng())
    assert (out.shape, out.dtype) == (features.shape, np.float32)
    assert np.isfinite(out).all()
    assert np.array_equal(features, before)


def test_perturbation_keeps_what_was_said():
    # a band that is loud in the second half stays louder there, whatever microphone and tract it came from
    spectrum = np.full((100, 40), -5, np.float32)
    spectrum[50:, 10:14] = 2
    features = np.zeros((20, 100, N), np.float32)
    mfcc = STREAM.features.slices["mfcc"]
    features[..., mfcc] = spectrum @ dct_matrix(40, 40)
    others = np.flatnonzero(~np.isin(np.arange(N), np.arange(N)[mfcc]))
    features[..., others] = 3
    out = Perturbation(STREAM.features, ALL)(features, np.ones((20, 100), bool), rng(1))
    back = out[..., mfcc] @ dct_matrix(40, 40).T
    ups = back[:, 53:].max(axis=2).mean(axis=1) - back[:, :47].max(axis=2).mean(axis=1)
    assert np.median(ups) > 3
    assert len({row.tobytes() for row in out}) == 20
    assert (out[..., others] == 3).all()


def test_truncated_mfcc_stay_as_they_are():
    features = rng().standard_normal((2, 50, WINDOW.features.n_features)).astype(np.float32)
    np.testing.assert_array_equal(Perturbation(WINDOW.features, ALL)(features, np.ones((2, 50), bool), rng()), features)
