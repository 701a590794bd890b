"""Noise reduction on band powers, and in the front end."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.denoise import NoiseReducer
from edge.features import FeatureExtractor
from edge.frontend import FrontEnd
from tests.edge.test_frontend import FEATURES, GATE

RNG = np.random.default_rng(5)
REDUCED = msgspec.structs.replace(FEATURES, noise_reduction_db=15)


def noise(n_frames: int, level: float = 1e-4, n_bands: int = 6) -> np.ndarray:
    """Band powers of steady noise: each band a mean of some squares."""
    return np.asarray(level * RNG.chisquare(8, (n_frames, n_bands)) / 8, np.float32)


def test_steady_noise_is_turned_down_and_what_stands_out_stays():
    powers = noise(400)
    powers[300:320, 2] += 0.1  # 30 dB above
    out = NoiseReducer(15, hop_ms=10).push(powers)
    turned_down_db = 10 * np.log10(powers / out)
    assert np.median(turned_down_db[100:300]) > 6
    assert np.all(turned_down_db[300:320, 2] < 0.1)
    assert np.median(turned_down_db[330:]) > 6


def test_never_louder_and_never_less_than_the_floor():
    powers = noise(200)
    out = NoiseReducer(12, hop_ms=10).push(powers)
    assert np.all(out <= powers)
    assert np.all(out >= powers * 10**-1.2 * 0.999)


def test_noise_that_becomes_louder_is_followed():
    powers = np.concatenate([noise(100), noise(3000, 1e-3)])
    out = NoiseReducer(15, hop_ms=10).push(powers)
    passed = 10 * np.log10(out.mean(axis=1) / powers.mean(axis=1))
    assert passed[110:200].mean() > -3  # at first it is something new
    assert passed[-1000:].mean() < -4


def test_the_estimate_lives_on_and_ends_with_reset():
    powers = noise(100)
    reducer = NoiseReducer(15, hop_ms=10)
    reducer.push(powers)
    loud = np.full((10, 6), 0.1, np.float32)
    assert np.allclose(reducer.push(loud), loud, rtol=0.02)  # known as louder than the noise
    reducer.reset()
    assert np.all(reducer.push(loud) < 0.1 * loud)  # the first that is heard


@given(cut=st.integers(0, 100), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_in_pieces_as_at_once(cut, seed):
    powers = np.asarray(np.random.default_rng(seed).exponential(1e-3, (100, 4)), np.float32)
    whole = NoiseReducer(15, hop_ms=10).push(powers)
    reducer = NoiseReducer(15, hop_ms=10)
    parts = np.concatenate([reducer.push(powers[:cut]), reducer.push(powers[cut:])])
    # near the knee of the gain the last digits of the estimate count
    np.testing.assert_allclose(parts, whole, rtol=1e-3)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_frames_and_silence(n):
    out = NoiseReducer(15, hop_ms=10).push(np.zeros((n, 3), np.float32))
    assert out.shape == (n, 3) and np.all(out == 0)


def _speech_in_noise(seconds: float = 3, snr_db: float = 5) -> tuple[np.ndarray, np.ndarray]:
    """A tone with overtones that comes and goes, and the same with white noise under it."""
    t = np.arange(int(16000 * seconds)) / 16000
    voice = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 0.8 * t) > 0)
    voice = 0.1 * voice / voice.std()
    white = np.random.default_rng(0).normal(0, 0.1 * 10 ** (-snr_db / 20), len(t))
    return np.asarray(voice, np.float32), np.asarray(voice + white, np.float32)


@pytest.mark.parametrize("blocks", [(17, 1600), (320,), (5000,)])
def test_features_are_the_same_for_blocks_of_any_size(blocks):
    _, noisy = _speech_in_noise()
    at_once, in_blocks = (FrontEnd(REDUCED, GATE, 48) for _ in range(2))
    expected = [*at_once.push(noisy), *at_once.flush()]
    chunks, start, n = [], 0, 0
    while start < len(noisy):
        block = blocks[n % len(blocks)]
        chunks += in_blocks.push(noisy[start : start + block])
        start, n = start + block, n + 1
    chunks += in_blocks.flush()
    assert sum(len(chunk.features) for chunk in expected) > 100
    assert [chunk.segment for chunk in chunks] == [chunk.segment for chunk in expected]
    assert all(np.array_equal(mine.features, its.features) for mine, its in zip(chunks, expected, strict=True))


def test_log_mel_of_noisy_speech_comes_nearer_to_the_clean():
    config = msgspec.structs.replace(FEATURES, columns=("log_mel",))
    clean, noisy = _speech_in_noise(snr_db=10)

    def log_mel(samples: np.ndarray, reduction_db: float) -> np.ndarray:
        frames = np.lib.stride_tricks.sliding_window_view(samples, config.window_length)[:: config.hop_length]
        return FeatureExtractor(msgspec.structs.replace(config, noise_reduction_db=reduction_db)).compute(
            np.ascontiguousarray(frames)
        )

    reference = log_mel(clean, 0)

    def distance(rows: np.ndarray) -> float:
        return float(np.abs(rows[50:] - reference[50:]).mean())

    assert distance(log_mel(noisy, 15)) < 0.9 * distance(log_mel(noisy, 0))
