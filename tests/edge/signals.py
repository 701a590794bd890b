"""Sounds for the tests of the signal path, made of sines and noise: mono float32 at 16 kHz."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

RATE_HZ = 16_000
FORMANTS_HZ = ((700, 1200, 2600), (300, 2300, 3000), (500, 900, 2400))


def silence(seconds: float) -> Float32:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


def tone(hz: float, seconds: float, amplitude: float = 0.3) -> Float32:
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (amplitude * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def noise(seconds: float, level_db: float, seed: int = 0) -> Float32:
    """White noise whose root mean square is `level_db` relative to full scale."""
    rng = np.random.default_rng(seed)
    return (10 ** (level_db / 20) * rng.standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


def harmonics(pitch_hz: NDArray[np.floating], formants_hz: Iterable[float]) -> Float32:
    """A steady vowel on the pitch given for each sample, peak 0.3: harmonics up to 4 kHz, louder near a formant."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    out = np.zeros(len(pitch_hz))
    for k in range(1, int(4000 / pitch_hz.max()) + 1):
        gain = sum(1 / (1 + ((k * pitch_hz - formant_hz) / 150) ** 2) for formant_hz in formants_hz)
        out += (0.03 + gain) * np.sin(k * phase) / k**0.5
    return (0.3 * out / np.abs(out).max()).astype(np.float32)


def phrase(first_hz: float, last_hz: float, seconds: float) -> Float32:
    """A gliding voice through three vowels, in syllables of a quarter of a second that never fall quite silent."""
    n = round(seconds * RATE_HZ)
    pitch_hz = np.linspace(first_hz, last_hz, n)
    vowels = [harmonics(pitch_hz, formants_hz) for formants_hz in FORMANTS_HZ]
    which = np.minimum(len(vowels) * np.arange(n) // n, len(vowels) - 1)
    syllables = 0.55 - 0.45 * np.cos(2 * np.pi * 4 * np.arange(n) / RATE_HZ)
    return (np.choose(which, vowels) * syllables).astype(np.float32)


def talk(seed: int = 0) -> Float32:
    """About 7 s: a room at -75 dB, three phrases of different voices, and a click that is no speech."""
    parts = [
        silence(0.6),
        phrase(110, 150, 1.3),
        silence(0.9),
        phrase(240, 180, 0.8),
        silence(0.7),
        np.full(160, 0.2, np.float32),
        silence(0.7),
        phrase(130, 90, 1.1),
        silence(0.9),
    ]
    samples = np.concatenate(parts)
    return samples + noise(len(samples) / RATE_HZ, -75, seed)


def blocks(samples: Float32, length: int) -> Iterator[Float32]:
    """`samples` in blocks of `length`, the last one shorter."""
    for start in range(0, len(samples), length):
        yield samples[start : start + length]


def pieces(samples: Float32, lengths: Iterable[int]) -> Iterator[Float32]:
    """`samples` in pieces of these lengths (0 is allowed), and what remains as the last one."""
    start = 0
    for length in lengths:
        yield samples[start : start + length]
        start += length
    yield samples[start:]
