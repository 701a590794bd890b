import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge.labels import EMOTIONS, HIGH, LOW
from edge.smoothing import DecisionConfig, Smoother, activation, posterior

CONFIG = DecisionConfig(
    temperature=1,
    time_constant_s=0.5,
    enter=0.6,
    exit=0.4,
    uncertain_below=0.5,
    speech_from=0.0,
    activation_scale=1,
    activation_offset=0,
)


def p(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def shown(smoother: Smoother, *posteriors: np.ndarray, step_s: float = 100) -> list[int | None]:
    """What is shown after each; steps so far apart that every posterior counts for itself."""
    return [smoother.push(posterior, i * step_s)[1] for i, posterior in enumerate(posteriors)]


def test_posterior_readable():
    np.testing.assert_allclose(posterior(p(0, 0), 1), [0.5, 0.5])
    np.testing.assert_allclose(posterior(p(np.log(3), 0), 1), [0.75, 0.25], rtol=1e-6)
    np.testing.assert_allclose(posterior(p(np.log(9), 0), 2), [0.75, 0.25], rtol=1e-6)


@given(arrays(np.float32, 8, elements=st.floats(-1000, 1000, width=32)), st.floats(0.05, 20))
def test_posterior_is_a_distribution_that_keeps_the_order(logits, temperature):
    probs = posterior(logits, temperature)
    assert probs.dtype == np.float32
    assert probs.sum() == pytest.approx(1, abs=1e-5)
    assert (probs >= 0).all()
    assert probs[np.argmax(logits)] == probs.max()


def test_the_first_posterior_counts_in_full():
    average, _ = Smoother(CONFIG).push(p(0.7, 0.3), 12.5)
    np.testing.assert_array_equal(average, p(0.7, 0.3))


def test_after_a_time_constant_the_past_counts_for_a_third():
    smoother = Smoother(CONFIG)
    smoother.push(p(1, 0), 1.0)
    average, _ = smoother.push(p(0, 1), 1.5)
    np.testing.assert_allclose(average, [np.exp(-1), 1 - np.exp(-1)], rtol=1e-6)


def test_smoothing_goes_by_time_not_by_count():
    often, seldom = Smoother(CONFIG), Smoother(CONFIG)
    for smoother in (often, seldom):
        smoother.push(p(1, 0), 0)
    for i in range(1, 11):
        average, _ = often.push(p(0, 1), i * 0.1)
    np.testing.assert_allclose(seldom.push(p(0, 1), 1.0)[0], average, rtol=1e-5)


def test_after_a_long_silence_the_new_voice_counts_for_all():
    smoother = Smoother(CONFIG)
    smoother.push(p(1, 0), 0)
    np.testing.assert_allclose(smoother.push(p(0, 1), 60)[0], [0, 1], atol=1e-6)


def test_shown_from_enter_until_below_exit():
    assert shown(Smoother(CONFIG), p(0.5, 0.5), p(0.7, 0.3), p(0.45, 0.55), p(0.35, 0.5), p(0.55, 0.45)) == [
        None,
        0,
        0,
        None,
        None,
    ]


def test_another_emotion_takes_over_when_it_enters():
    assert shown(Smoother(CONFIG), p(0.7, 0.3), p(0.3, 0.7), p(0.45, 0.55)) == [0, 1, 1]


def test_one_deviating_answer_does_not_flicker():
    smoother = Smoother(CONFIG)
    sequence = [p(0.9, 0.1)] * 5 + [p(0.1, 0.9)] + [p(0.9, 0.1)] * 5
    assert set(shown(smoother, *sequence, step_s=0.1)) == {0}


def test_a_clock_that_stands_still_does_no_harm():
    smoother = Smoother(CONFIG)
    smoother.push(p(0.9, 0.1), 5)
    for time_s in (5, 4):
        average, index = smoother.push(p(0.1, 0.9), time_s)
        np.testing.assert_allclose(average, [0.9, 0.1], rtol=1e-6)
        assert index == 0


def test_reset_forgets():
    smoother = Smoother(CONFIG)
    smoother.push(p(0.9, 0.1), 0)
    smoother.reset()
    average, index = smoother.push(p(0.5, 0.5), 0.01)
    assert (average.tolist(), index) == ([0.5, 0.5], None)


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1)), min_size=1, max_size=60))
def test_what_is_smoothed_stays_a_distribution(steps):
    smoother, time_s = Smoother(CONFIG), 0.0
    for gap_s, share in steps:
        time_s += gap_s
        average, index = smoother.push(p(share, 1 - share), time_s)
        assert average.sum() == pytest.approx(1, abs=1e-4)
        assert index is None or average[index] >= CONFIG.exit


def test_activation_is_the_share_of_high_among_high_and_low():
    labels = ("happy", "sad", "disgusted")
    assert activation(np.array([0.6, 0.2, 0.2], np.float32), labels, CONFIG) == pytest.approx(0.75)
    # of all eight: 0.35 high, 0.15 low, and the rest, disgust, counts for neither
    shares = dict.fromkeys(HIGH, 0.0875) | dict.fromkeys(LOW, 0.05) | {"disgusted": 0.5}
    probs = np.array([shares[emotion] for emotion in EMOTIONS], np.float32)
    assert activation(probs, EMOTIONS, CONFIG) == pytest.approx(0.7)
    assert activation(np.stack([probs, probs]), EMOTIONS, CONFIG).shape == (2,)


def test_activation_is_calibrated_in_log_odds():
    config = msgspec.structs.replace(CONFIG, activation_scale=2, activation_offset=np.log(0.5))
    # odds of 3, squared, halved
    assert activation(np.array([0.75, 0.25], np.float32), ("angry", "calm"), config) == pytest.approx(4.5 / 5.5)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=8, max_size=8).filter(sum),
    st.floats(0.05, 20),
    st.floats(-20, 20),
)
def test_activation_is_always_a_probability(shares, scale, offset):
    probs = np.array(shares, np.float32) / np.float32(sum(shares))
    config = msgspec.structs.replace(CONFIG, activation_scale=scale, activation_offset=offset)
    assert 0 <= activation(probs, EMOTIONS, config) <= 1


def test_activation_of_nothing_but_disgust_is_what_the_offset_says():
    assert activation(np.eye(8, dtype=np.float32)[EMOTIONS.index("disgusted")], EMOTIONS, CONFIG) == 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("temperature", float("nan")),
        ("time_constant_s", 0),
        ("time_constant_s", 61),
        ("enter", 1),
        ("enter", 0.3),
        ("exit", 0),
        ("exit", 0.7),
        ("uncertain_below", 1),
        ("uncertain_below", -0.1),
        ("activation_scale", 0),
        ("activation_scale", 21),
        ("activation_scale", float("nan")),
        ("speech_from", 1),
        ("speech_from", -0.1),
        ("activation_offset", -21),
        ("activation_offset", float("inf")),
    ],
)
def test_settings_that_contradict_each_other_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        msgspec.structs.replace(CONFIG, **{name: value}).check()


def test_good_settings_pass():
    CONFIG.check()
