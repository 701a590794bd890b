"""Noise reduction: spectral gating of mel bands over a running estimate of the noise, nothing looked ahead.

The noise of a band is its quietest 50 ms so far, allowed to rise by `RISE_DB_PER_S` (minimum statistics, Martin 2001,
with a rising minimum in place of a window): steady noise is followed, speech with its pauses is not. Of a band's power
so much is kept as stands out of the noise (spectral subtraction, Berouti 1979), and never less than the floor that was
asked for, so that what is left of the noise stays even.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

SMOOTHED_MS: Final = 50
RISE_DB_PER_S: Final = 3.0
TAKEN: Final = 3.0
"""Times the estimate is taken off: a minimum lies below the mean of what it is the minimum of, and what is but a little
above the mean is mostly noise, too."""


class NoiseReducer:
    """Works on the band powers of one stream; the estimate lives as long as the stream.

    What it says depends on how the frames were grouped in the last digits only, and the front end groups them alike
    whatever the blocks were.
    """

    def __init__(self, most_db: float, hop_ms: float) -> None:
        self._least_gain = np.float32(10 ** (-most_db / 10))
        self._n_smoothed = max(1, round(SMOOTHED_MS / hop_ms))
        self._rise = 10 ** (RISE_DB_PER_S * hop_ms / 1000 / 10)
        self.reset()

    def reset(self) -> None:
        """Start as on a new stream: the first frame is all the noise that is known."""
        self._past: Float32 | None = None
        self._noise: Float32 | None = None

    def push(self, powers: Float32) -> Float32:
        """Take and return the powers of bands `(n, n_bands)`, those of noise turned down."""
        n = len(powers)
        if n == 0:
            return powers
        if self._past is None:
            self._past = np.repeat(powers[:1], self._n_smoothed - 1, axis=0)
        held = np.concatenate([self._past, powers])
        smooth = sum(held[start : start + n] for start in range(self._n_smoothed)) / np.float32(self._n_smoothed)
        self._past = held[n:]
        # the least of what was, each raised by the time since: taken back to one time, that is a running minimum
        rises = np.asarray(self._rise ** np.arange(1, n + 1), np.float32)[:, None]
        level = np.asarray(smooth / rises, np.float32)
        if self._noise is not None:
            level[0] = np.minimum(level[0], self._noise)
        noise = np.minimum.accumulate(level, axis=0) * rises
        self._noise = noise[-1]
        # 1e-12 is -120 dB: digital silence must not divide by zero
        gains = 1 - np.float32(TAKEN) * noise / np.maximum(powers, np.float32(1e-12))
        return np.asarray(powers * np.maximum(gains, self._least_gain), np.float32)
