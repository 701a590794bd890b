import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signals import pieces

from edge.normalize import Normalizer, NormalizerConfig, RunningMean


def naive(rows: np.ndarray, memory: float, prior: np.ndarray | float = 0.0, prior_weight: float = 0.0) -> np.ndarray:
    """The formula of RunningMean's docstring, row by row in float64."""
    decay = 1 - 1 / memory
    total, weight, out = np.zeros(rows.shape[1]), 0.0, []
    for row in rows.astype(np.float64):
        total, weight = decay * total + row, decay * weight + 1
        out.append((total + np.asarray(prior) * prior_weight) / (weight + prior_weight))
    return np.array(out).reshape(rows.shape)


def normal(n: int, n_columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(3, 2, (n, n_columns)).astype(np.float32)


def test_the_first_rows_have_an_ordinary_mean():
    # a memory so long that nothing fades
    mean = RunningMean(1, 1e9)
    assert mean.push(np.array([[1], [2], [3], [6]], np.float32)).tolist() == [[1], [1.5], [2], [3]]


def test_old_rows_fade_by_a_third_in_a_memory():
    mean = RunningMean(1, 100)
    mean.push(np.ones((5000, 1), np.float32))
    after = mean.push(np.zeros((100, 1), np.float32))[-1, 0]
    assert after == pytest.approx(np.exp(-1), abs=0.01)


def test_the_prior_counts_for_its_rows():
    mean = RunningMean(1, 1e9, np.array([10], np.float32), 3)
    assert mean.push(np.array([[2], [8], [5]], np.float32)).tolist() == [[8], [8], [7.5]]
    mean.reset()
    assert mean.push(np.array([[2]], np.float32)).tolist() == [[8]]


@pytest.mark.parametrize("memory", [8, 50, 1000, 2e5])
@pytest.mark.parametrize("prior_weight", [0.0, 100.0])
def test_agrees_with_the_formula(memory, prior_weight):
    rows = normal(1000, 3)
    prior = np.array([1, -2, 30], np.float32)
    found = RunningMean(3, memory, prior, prior_weight).push(rows)
    np.testing.assert_allclose(found, naive(rows, memory, prior, prior_weight), rtol=1e-6, atol=1e-6)


@given(st.lists(st.integers(0, 150), max_size=6), st.sampled_from([8, 30, 2000]))
def test_any_grouping_agrees(cuts, memory):
    rows = normal(300, 2)
    mean = RunningMean(2, memory)
    found = np.concatenate([mean.push(piece) for piece in pieces(rows, cuts)])
    np.testing.assert_allclose(found, RunningMean(2, memory).push(rows), rtol=1e-6)


def test_months_of_rows_do_not_drift():
    # a million rows in one go weigh what months do: the sums reach their limit after a few memories
    mean = RunningMean(2, 100)
    rows = normal(1000, 2)
    for _ in range(1000):
        last = mean.push(rows)
    np.testing.assert_allclose(last, naive(np.concatenate([rows, rows, rows]), 100)[-1000:], rtol=1e-6)


def test_a_loud_past_leaves_no_trace():
    mean = RunningMean(1, 8)
    mean.push(np.full((100, 1), 1e6, np.float32))
    mean.push(np.zeros((1000, 1), np.float32))
    assert mean.push(np.full((1, 1), 1.0, np.float32))[0, 0] == pytest.approx(1 / 8, rel=1e-5)


def test_a_memory_too_short_is_refused():
    with pytest.raises(ValueError, match="memory"):
        RunningMean(1, 7.9)


CONFIG = NormalizerConfig(mean=(1, 10), std=(2, 5), running=(False, True), prior_frames=1, memory_s=100)


def test_columns_are_centred_and_scaled():
    normalizer = Normalizer(CONFIG, hop_ms=10)
    rows = np.array([[1, 20], [5, 30]], np.float32)
    np.testing.assert_allclose(normalizer.push(rows), [[0, (20 - 15) / 5], [2, (30 - 20) / 5]], atol=1e-3)
    normalizer.reset()
    np.testing.assert_allclose(normalizer.push(rows[:1]), [[0, 1]], atol=1e-3)


def test_without_running_columns_every_row_is_for_itself():
    config = msgspec.structs.replace(CONFIG, running=(False, False))
    rows = normal(50, 2)
    found = Normalizer(config, hop_ms=10).push(rows)
    np.testing.assert_allclose(found, (rows - [1, 10]) / [2, 5], rtol=1e-5, atol=1e-6)


def test_the_input_is_left_as_it_was():
    rows = normal(5, 2)
    before = rows.copy()
    found = Normalizer(CONFIG, hop_ms=10).push(rows)
    assert (rows == before).all()
    assert found.dtype == np.float32


def test_no_rows_give_no_rows():
    assert Normalizer(CONFIG, hop_ms=10).push(np.zeros((0, 2), np.float32)).shape == (0, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", (1,)),
        ("mean", (1, float("inf"))),
        ("mean", (1, 1e300)),
        ("std", (1, 2, 3)),
        ("std", (1, 0)),
        ("std", (1, 1e-300)),
        ("std", (1, float("nan"))),
        ("running", ()),
        ("prior_frames", -1),
        ("prior_frames", 1e308),
        ("memory_s", 0),
        ("memory_s", 1e9),
    ],
)
def test_statistics_that_do_not_fit_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        msgspec.structs.replace(CONFIG, **{name: value}).check(2)


def test_every_memory_that_is_allowed_can_be_built():
    config = msgspec.structs.replace(CONFIG, memory_s=2)
    config.check(2)
    Normalizer(config, hop_ms=200)
