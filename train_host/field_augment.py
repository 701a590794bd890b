"""Recordings as other projects of this kind change them: noise, pitch and speed, and nothing of microphones and rooms.

Their copies are of one change each, made once before training; so are these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from train_host.augment import Samples, add_noise, change_speed, coloured_noise, shift_pitch


class FieldAugmenter:
    """Draws what is changed in each recording: always noise, 5 to 25 dB below the speech, white or out of `noises`;
    with `voices`, before that the speed (0.85 to 1.15 times) or the pitch (up to 2 semitones either way).

    Mono float32 at 16 kHz in, the same out, within [-1, 1]; as long as before except after a change of speed.
    """

    def __init__(self, noises: Sequence[Samples], rng: np.random.Generator, *, voices: bool) -> None:
        self._noises = noises
        self._rng = rng
        self._voices = voices

    def __call__(self, samples: Samples) -> Samples:
        rng = self._rng
        out = samples.astype(np.float32, copy=False)
        if self._voices:
            out = (
                change_speed(out, rng.uniform(0.85, 1.15))
                if rng.random() < 0.5
                else shift_pitch(out, rng.uniform(-2, 2))
            )
        if len(self._noises) and rng.random() < 0.5:
            noise = self._noises[rng.integers(len(self._noises))]
        else:
            noise = coloured_noise(len(out), 0.0, rng)
        return np.clip(add_noise(out, noise, rng.uniform(5, 25), rng), -1, 1)
