"""Normalisation that only looks back: running means, and the feature vectors centred and scaled by them."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_STRIDE = 64


class RunningMean:
    """The mean of each column over the rows so far, old rows fading with a memory of `memory` rows.

    Row `t` of the answer is `(n0 * m0 + sum_k a^(t-k) x_k) / (n0 + sum_k a^(t-k))` over all rows `k <= t` ever pushed,
    `a = 1 - 1 / memory`: an ordinary mean at first, an exponential one in the long run. `m0` and `n0` are a prior mean
    and the number of rows it counts for (default none: the first row is its own mean).
    """

    def __init__(self, n_columns: int, memory: float, prior: Float32 | None = None, prior_weight: float = 0.0) -> None:
        if not memory >= 8:
            raise ValueError(f"memory must be at least 8 rows, got {memory}")
        self._decay = 1 - 1 / memory
        # in float64: the sums live for months, and a^-64 below must not cost digits
        self._powers = (self._decay ** np.arange(1, _STRIDE + 1, dtype=np.float64))[:, None]
        self._cumulated = np.add.accumulate(1 / self._powers)
        self._prior_sum = np.zeros(n_columns) if prior is None else np.asarray(prior, np.float64) * prior_weight
        self._prior_weight = prior_weight
        self._n_columns = n_columns
        self.reset()

    def reset(self) -> None:
        """Forget every row; the prior stays."""
        self._sum = np.zeros(self._n_columns)
        self._weight = 0.0

    def push(self, rows: Float32) -> Float32:
        """Take rows `(n, n_columns)`, return the mean up to and including each, same shape, float32."""
        out = np.empty(rows.shape, np.float32)
        for start in range(0, len(rows), _STRIDE):
            chunk = rows[start : start + _STRIDE]
            powers = self._powers[: len(chunk)]
            sums = np.add.accumulate(chunk / powers)
            sums += self._sum
            sums *= powers
            weights = self._cumulated[: len(chunk)] + self._weight
            weights *= powers
            self._sum, self._weight = sums[-1].copy(), float(weights[-1, 0])
            sums += self._prior_sum
            weights += self._prior_weight
            np.divide(sums, weights, out=out[start : start + len(chunk)], casting="same_kind")
        return out


class NormalizerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How feature vectors are centred and scaled. Belongs to the bundle: `mean` and `std` come from its training."""

    mean: tuple[float, ...]
    """What each column is centred on, before the stream has shown a mean of its own."""
    std: tuple[float, ...]
    running: tuple[bool, ...]
    """Columns that are centred on their own running mean; the others stay with `mean`."""
    prior_frames: float
    """How many voiced frames `mean` counts for against the stream's own."""
    memory_s: float
    """How long a voiced frame is remembered by the running mean."""

    def check(self, n_features: int) -> None:
        """Raise ValueError, naming the setting, for statistics that do not fit `n_features` columns."""
        for name in ("mean", "std", "running"):
            if len(getattr(self, name)) != n_features:
                raise ValueError(
                    f"{name} must have {n_features} values, one for each feature, got {len(getattr(self, name))}"
                )
        if not (all(1e-6 <= std <= 1e6 for std in self.std) and all(abs(mean) <= 1e6 for mean in self.mean)):
            raise ValueError("mean must be -1e6 to 1e6, and std 1e-6 to 1e6")
        if not (0 <= self.prior_frames <= 1e6 and 2 <= self.memory_s <= 86400):
            raise ValueError(
                f"need prior_frames 0 to 1e6 and memory_s 2 to 86400, got {self.prior_frames} and {self.memory_s}"
            )


class Normalizer:
    """Centres and scales the feature vectors of one stream; what it learned of the speaker and the microphone lives as
    long as the stream."""

    def __init__(self, config: NormalizerConfig, hop_ms: float) -> None:
        self._mean = np.asarray(config.mean, np.float32)
        self._inverse_std = 1 / np.asarray(config.std, np.float32)
        self._running = np.flatnonzero(config.running)
        self._statistics = RunningMean(
            len(self._running), config.memory_s * 1000 / hop_ms, self._mean[self._running], config.prior_frames
        )

    def reset(self) -> None:
        """Start as on a new stream."""
        self._statistics.reset()

    def push(self, features: Float32) -> Float32:
        """Take `(n, n_features)` in order, return them normalised, same shape."""
        centred: Float32 = features - self._mean
        if len(self._running):
            columns = features[:, self._running]
            centred[:, self._running] = columns - self._statistics.push(columns)
        centred *= self._inverse_std
        return centred
