import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_corpus import RATE_HZ, voice

from train_host.augment import active_level
from train_host.field_augment import FieldAugmenter

VOICE = voice("happy", "anna", 0)
HUM = (0.1 * np.sin(2 * np.pi * 100 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)


def changed(seed: int, *, voices: bool, noises=(), samples=VOICE) -> np.ndarray:
    return FieldAugmenter(noises, np.random.default_rng(seed), voices=voices)(samples)


def pitch_hz(samples: np.ndarray) -> float:
    """Of the loudest harmonic's series, by the autocorrelation of the middle."""
    middle = samples[len(samples) // 2 - 4000 : len(samples) // 2 + 4000]
    spectrum = np.abs(np.fft.rfft(middle, 2 * len(middle))) ** 2
    likeness = np.fft.irfft(spectrum)[40:200]
    return RATE_HZ / (40 + int(np.argmax(likeness)))


def test_noise_lies_five_to_twenty_five_db_below_the_voice():
    for seed in range(10):
        noise = changed(seed, voices=False) - VOICE
        snr_db = 20 * np.log10(active_level(VOICE) / np.sqrt(np.mean(noise**2)))
        assert 4.5 < snr_db < 25.5


def test_noise_alone_leaves_the_voice_as_long_and_as_high_as_it_was():
    for seed in range(5):
        out = changed(seed, voices=False)
        assert len(out) == len(VOICE)
        assert pitch_hz(out) == pytest.approx(pitch_hz(VOICE), rel=0.03)


def test_given_noises_are_used_in_about_half_of_the_copies():
    hums = 0
    for seed in range(40):
        noise = np.abs(np.fft.rfft(changed(seed, voices=False, noises=[HUM])[:RATE_HZ] - VOICE[:RATE_HZ]))
        hums += np.argmax(noise) == 100
    assert 10 < hums < 30


def test_voices_are_changed_in_speed_or_in_pitch():
    speeds, pitches = [], []
    for seed in range(30):
        out = changed(seed, voices=True)
        if len(out) != len(VOICE):
            speeds.append(len(VOICE) / len(out))
        else:
            pitches.append(pitch_hz(out) / pitch_hz(VOICE))
    assert min(len(speeds), len(pitches)) > 5
    assert 0.849 < min(speeds) < 0.95 < 1.05 < max(speeds) < 1.151
    assert 0.86 < min(pitches) < 0.97 < 1.03 < max(pitches) < 1.16


@given(n=st.integers(0, 3000), scale=st.sampled_from([0, 1e-6, 1.0]), seed=st.integers(0, 99), voices=st.booleans())
def test_anything_comes_back_finite_and_within_bounds(n, scale, seed, voices):
    samples = (scale * np.sin(np.arange(n))).astype(np.float32)
    out = changed(seed, voices=voices, samples=samples)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert np.abs(out).max(initial=0) <= 1


def test_the_same_chance_gives_the_same_copy():
    assert np.array_equal(changed(3, voices=True, noises=[HUM]), changed(3, voices=True, noises=[HUM]))
    assert not np.array_equal(changed(3, voices=False), changed(4, voices=False))
