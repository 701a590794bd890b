"""Posteriors to scores: calibrated, averaged over time, and shown only when sure.

An emotion is shown once its smoothed share passes `enter`, and stays until the share falls below `exit`; between the
two nothing flickers. While none has entered, the answer is `uncertain`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.labels import HIGH, LOW

Float32 = NDArray[np.float32]

_LEAST_SHARE = 1e-9


class DecisionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From logits to what is shown. Set on validation speakers, so it belongs to the bundle."""

    temperature: float
    """What logits are divided by, so that confidences mean what they say."""
    time_constant_s: float
    """Of the smoothing; after so long, what was before counts for a third."""
    enter: float
    """Smoothed share from which an emotion is shown."""
    exit: float
    """Smoothed share below which it is no longer shown."""
    uncertain_below: float
    """A finished segment with less confidence than this is `uncertain`."""
    speech_from: float
    """Least probability that somebody speaks for a segment to be answered at all; 0 for a model that cannot tell."""
    activation_scale: float
    activation_offset: float
    """What the log odds of high against low activation are multiplied by, and what is then added, so that the
    probability means what it says."""

    def check(self) -> None:
        """Raise ValueError, naming the setting, for settings that contradict each other."""
        if not 0.05 <= self.temperature <= 20:
            raise ValueError(f"temperature must be 0.05 to 20, got {self.temperature}")
        if not 0 < self.time_constant_s <= 60:
            raise ValueError(f"time_constant_s must be above 0 and at most 60, got {self.time_constant_s}")
        if not 0 < self.exit <= self.enter < 1:
            raise ValueError(f"need 0 < exit <= enter < 1, got {self.exit} and {self.enter}")
        if not 0 <= self.uncertain_below < 1:
            raise ValueError(f"uncertain_below must be 0 to 1, got {self.uncertain_below}")
        if not 0 <= self.speech_from < 1:
            raise ValueError(f"speech_from must be 0 to 1, got {self.speech_from}")
        if not 0.05 <= self.activation_scale <= 20:
            raise ValueError(f"activation_scale must be 0.05 to 20, got {self.activation_scale}")
        if not -20 <= self.activation_offset <= 20:
            raise ValueError(f"activation_offset must be -20 to 20, got {self.activation_offset}")


def posterior(logits: Float32, temperature: float) -> Float32:
    """Calibrated softmax, shape `(n_labels,)`, sum 1."""
    scaled = logits / np.float32(temperature)
    exponential = np.exp(scaled - scaled.max())
    return np.asarray(exponential / exponential.sum(), np.float32)


def speech_probability(logit: float) -> float:
    """That somebody speaks, by the last logit of a model that can tell."""
    return 1 / (1 + math.exp(-min(max(logit, -50.0), 50.0)))


def activation(probs: NDArray[np.floating], labels: Sequence[str], config: DecisionConfig) -> NDArray[np.float64]:
    """Calibrated probability, shape `(...)`, that the activation is high; `probs` are posteriors `(..., n_labels)`."""
    log_odds = activation_log_odds(probs, labels)
    return 1 / (1 + np.exp(-(config.activation_scale * log_odds + config.activation_offset)))


def activation_log_odds(probs: NDArray[np.floating], labels: Sequence[str]) -> NDArray[np.float64]:
    """Log odds of high against low activation before calibration, shape `(...)`."""
    high, low = (
        # a share so small that float32 lost it is no infinite certainty
        np.maximum(np.add.reduce(probs[..., members], axis=-1, dtype=np.float64), _LEAST_SHARE)
        for members in _members(tuple(labels))
    )
    return np.asarray(np.log(high / low))


@lru_cache
def _members(labels: tuple[str, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the emotions of high and of low activation stand among `labels`."""
    high, low = (np.flatnonzero([label in kind for label in labels]) for kind in (HIGH, LOW))
    return high, low


class Smoother:
    """Averages posteriors over time and decides what is shown."""

    def __init__(self, config: DecisionConfig) -> None:
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Forget what was heard: nothing is shown."""
        self._average: Float32 | None = None
        self._time_s = 0.0
        self._shown: int | None = None

    def push(self, posterior: Float32, time_s: float) -> tuple[Float32, int | None]:
        """Take the posterior at `time_s`; return the smoothed one and the index of the emotion shown, or None."""
        if self._average is None:
            self._average = posterior
        else:
            # by elapsed time, not by count: after a long silence the new voice counts for nearly all
            keep = np.float32(np.exp(-max(0.0, time_s - self._time_s) / self._config.time_constant_s))
            self._average = keep * self._average + (1 - keep) * posterior
        self._time_s = time_s
        if self._shown is not None and self._average[self._shown] < self._config.exit:
            self._shown = None
        best = int(np.argmax(self._average))
        if self._average[best] >= self._config.enter:
            self._shown = best
        return self._average, self._shown
