"""Synthetic voices whose emotions differ in pitch, pace and brightness."""

import numpy as np
import scipy.signal

RATE_HZ = 16000
# (pitch in Hz, syllables a second, brightness): what tells the emotions of these voices apart
VOICES = {"neutral": (120, 4, 0.4), "happy": (240, 6, 0.6), "sad": (95, 2, 0.2), "angry": (180, 8, 0.9)}
SPEAKERS = {"anna": 1.0, "bob": 0.94, "cleo": 1.06}


def voice(emotion: str, speaker: str, take: int, seconds: float = 1.0) -> np.ndarray:
    """Speech-like: harmonics under a row of syllables, half a second of room before and after."""
    pitch_hz, syllables_hz, brightness = VOICES[emotion]
    rng = np.random.default_rng([take, *speaker.encode(), *emotion.encode()])
    t_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    glide = 1 + 0.05 * np.sin(2 * np.pi * 1.5 * t_s + rng.uniform(0, 6))
    phase = np.cumsum(pitch_hz * SPEAKERS[speaker] * rng.uniform(0.97, 1.03) * glide) / RATE_HZ
    pulses = np.diff(np.floor(phase), prepend=0)
    source = scipy.signal.lfilter([1], [1, brightness - 0.98], pulses)
    for formant_hz in rng.uniform(0.95, 1.05, 3) * (600, 1400, 2600):
        angle = 2 * np.pi * formant_hz / RATE_HZ
        source = scipy.signal.lfilter([1], [1, -1.92 * np.cos(angle), 0.92], source)
    tone = source / np.abs(source).max() * (0.55 + 0.45 * np.sin(2 * np.pi * syllables_hz * t_s))
    room = np.zeros(RATE_HZ // 2)
    samples = np.concatenate([room, 0.3 * tone, room])
    return (samples + 3e-4 * rng.standard_normal(len(samples))).astype(np.float32)
