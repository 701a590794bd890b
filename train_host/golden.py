"""The golden signal: two vowel-like phrases in faint noise, made here, which every bundle replays on its board."""

from __future__ import annotations

import numpy as np
import scipy.signal
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16000
FORMANTS_HZ = ((700, 1220, 2600), (300, 2300, 3000), (500, 900, 2400))


def golden_signal() -> NDArray[np.int16]:
    """About 4 s, mono, 16 kHz, the same on every machine to within a bit."""
    rng = np.random.default_rng(20)
    phrases = [_phrase(110, 150, 1.1), np.zeros(SAMPLE_RATE_HZ), _phrase(260, 180, 0.9), np.zeros(SAMPLE_RATE_HZ // 2)]
    signal = np.concatenate([np.zeros(SAMPLE_RATE_HZ // 2), *phrases])
    signal += 1e-4 * rng.standard_normal(len(signal))
    return np.round(32767 * np.clip(signal, -1, 1)).astype(np.int16)


def _phrase(first_hz: float, last_hz: float, seconds: float) -> NDArray[np.float64]:
    """A gliding voice through three vowels, peak 0.4."""
    n = int(seconds * SAMPLE_RATE_HZ)
    pitch_hz = np.linspace(first_hz, last_hz, n)
    # a pulse each time the phase passes a whole number, softened to fall 12 dB an octave like a glottis
    pulses = np.diff(np.floor(np.cumsum(pitch_hz) / SAMPLE_RATE_HZ), prepend=0)
    source = scipy.signal.lfilter([1], [1, -1.8, 0.81], pulses)
    out = np.zeros(n)
    for part, formants in zip(np.array_split(np.arange(n), len(FORMANTS_HZ)), FORMANTS_HZ, strict=True):
        voice = source
        for formant_hz in formants:
            radius = np.exp(-np.pi * 90 / SAMPLE_RATE_HZ)
            angle = 2 * np.pi * formant_hz / SAMPLE_RATE_HZ
            voice = scipy.signal.lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], voice)
        out[part] = (voice / np.abs(voice).max())[part]
    return 0.4 * out * np.hanning(n) ** 0.25
