import numpy as np
import pytest
import scipy.optimize
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.labels import EMOTIONS, HIGH, LOW
from train_host.metrics import (
    activation_answers,
    activation_of,
    calibration_error,
    confusion,
    fit_activation,
    fit_temperature,
    unweighted_average_recall,
)


def test_confusion_by_hand():
    counts = confusion([0, 0, 1, 2, 2], [0, 1, 1, -1, 2], 3)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]


def test_confusion_of_nothing():
    assert confusion([], [], 2).tolist() == [[0, 0, 0], [0, 0, 0]]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4)), min_size=1, max_size=60))
def test_confusion_counts_everything_once_and_gives_the_recall(pairs):
    truth, answers = np.array(pairs).T
    counts = confusion(truth, answers, 5)
    assert counts.sum() == len(pairs)
    assert counts.sum(axis=1).tolist() == np.bincount(truth, minlength=5).tolist()
    present = counts.sum(axis=1) > 0
    recalls = np.diag(counts[:, :5])[present] / counts.sum(axis=1)[present]
    assert unweighted_average_recall(truth, answers) == pytest.approx(recalls.mean())


def test_recall_counts_labels_not_examples():
    # 9 of 10 right for the common label, 0 of 1 for the rare one: half, not nine elevenths
    assert unweighted_average_recall([0] * 10 + [1], [0] * 9 + [1] + [0]) == pytest.approx(0.45)


def test_an_answer_that_is_never_true_costs_nothing_more_than_the_miss():
    assert unweighted_average_recall([0, 0, 1, 1], [0, 7, 1, -1]) == pytest.approx(0.5)


def test_there_is_no_recall_of_nothing():
    with pytest.raises(ValueError, match="no examples"):
        unweighted_average_recall([], [])


def test_calibration_error_by_hand():
    # two bins of two: 0.9 sure and half right, 0.3 sure and never right
    assert calibration_error([0.9, 0.9, 0.3, 0.3], [1, 0, 0, 0], n_bins=10) == pytest.approx(0.5 * 0.4 + 0.5 * 0.3)


def test_calibration_error_of_the_ends():
    assert calibration_error([0.0, 1.0], [False, True]) == 0
    assert calibration_error([1.0, 1.0], [False, False]) == 1


def test_honest_confidence_has_a_small_calibration_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, 20_000)
    assert calibration_error(confidence, rng.uniform(size=20_000) < confidence) < 0.02


def drawn(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too sure of labels drawn from their softmax."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 2, (n, 8))
    truth = np.array([rng.choice(8, p=p) for p in scipy.special.softmax(honest, axis=1)])
    return (honest * temperature).astype(np.float32), truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_that_of_least_loss(temperature):
    logits, truth = drawn(2000, temperature)

    def loss(t: float) -> float:
        return -scipy.special.log_softmax(logits / t, axis=1)[np.arange(len(truth)), truth].mean()

    best = scipy.optimize.minimize_scalar(loss, bounds=(0.1, 10), method="bounded").x
    found = fit_temperature(logits, truth)
    assert found == pytest.approx(best, rel=0.03)
    assert found == pytest.approx(temperature, rel=0.1)


def test_temperature_without_the_labels_that_an_example_cannot_have():
    logits, truth = drawn(1000, 2.0)
    never = np.ones_like(logits, bool)
    never[np.arange(len(truth)), truth] = False
    never[:, :4] = False
    masked = np.where(never, -np.inf, logits)
    # a very low number in place of -inf says the same
    assert fit_temperature(masked, truth) == fit_temperature(np.where(never, -1e4, logits), truth)


def test_temperature_is_bounded_for_logits_that_are_always_right():
    assert fit_temperature(np.eye(8, dtype=np.float32) * 5, np.arange(8)) == pytest.approx(0.25)


def test_every_emotion_has_an_activation_but_disgust():
    kinds = dict(zip(EMOTIONS, activation_of(range(8)).tolist(), strict=True))
    assert kinds == dict.fromkeys(HIGH, 0) | dict.fromkeys(LOW, 1) | {"disgusted": -1}


def test_answers_of_the_activation():
    answers, confidence = activation_answers([0.9, 0.5, 0.2, np.nan])
    assert answers.tolist() == [0, 0, 1, -1]
    np.testing.assert_allclose(confidence, [0.9, 0.5, 0.8, 0])


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 5), st.floats(-3, 3))
def test_the_activation_is_led_back_to_what_it_was_made_of(scale, offset):
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, 4000)
    is_high = rng.random(4000) < scipy.special.expit(scale * odds + offset)
    found = fit_activation(odds, is_high)
    assert found[0] == pytest.approx(scale, rel=0.25, abs=0.1)
    assert found[1] == pytest.approx(offset, abs=0.35)
    # the best by the derivative, too, with targets that hardly differ from 0 and 1
    p = scipy.special.expit(found[0] * odds + found[1])
    assert abs(np.mean(p - is_high)) < 2e-3


def test_an_activation_that_is_always_right_does_not_become_infinitely_sure():
    scale, offset = fit_activation(np.array([-2.0] * 6 + [2.0] * 6), [False] * 6 + [True] * 6)
    # as if one more of each had been seen: 7 of 8
    assert scipy.special.expit(2 * scale + offset) == pytest.approx(7 / 8, abs=1e-3)
    assert scipy.special.expit(-2 * scale + offset) == pytest.approx(1 / 8, abs=1e-3)


def test_examples_of_one_kind_or_none_fit_nothing():
    assert fit_activation(np.array([1.0, 2.0]), [True, True]) == (1, 0)
    assert fit_activation(np.zeros(0), []) == (1, 0)
