import numpy as np
import pytest

from train_host import scenes


@pytest.mark.parametrize("n_sounds", [0, 2])
def test_scenes_are_sound_and_none_is_like_another(n_sounds):
    rng = np.random.default_rng(0)
    noises = [rng.standard_normal(20_000).astype(np.float32) for _ in range(n_sounds)]
    rooms = [np.eye(1, 4000, dtype=np.float32)[0] for _ in range(n_sounds)]
    found = [scenes.scene(noises, rooms, np.random.default_rng(seed)) for seed in range(12)]
    for one in found:
        assert (one.shape, one.dtype) == ((192_000,), np.float32)
        assert np.isfinite(one).all()
        assert 1e-5 < np.sqrt(np.mean(one**2)) < 1
    assert len({one.tobytes() for one in found}) == 12
    again = scenes.scene(noises, rooms, np.random.default_rng(3))
    np.testing.assert_array_equal(found[3], again)


def test_sources_begin_in_a_background_that_is_quieter():
    # what a gate hears as an onset
    steps = []
    for seed in range(20):
        one = scenes.scene([], [], np.random.default_rng(seed))
        levels = 10 * np.log10(np.mean(one.reshape(-1, 1600) ** 2, axis=1) + 1e-12)
        steps.append(np.diff(levels).max())
    assert np.mean(np.array(steps) > 10) > 0.8
