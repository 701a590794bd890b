"""Figures of merit. `truth` and `answers` are indices into the labels, shape `(n,)`; answers may be -1 for none."""

from __future__ import annotations

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import ArrayLike, NDArray

from edge.labels import EMOTIONS, HIGH, LOW


def confusion(truth: ArrayLike, answers: ArrayLike, n_labels: int) -> NDArray[np.int64]:
    """Counts, rows the truth, columns the answers: `(n_labels, n_labels + 1)`; the last column is no answer."""
    counts = np.zeros((n_labels, n_labels + 1), np.int64)
    # -1 counts from the end: the column of no answer
    np.add.at(counts, (np.asarray(truth, np.int64), np.asarray(answers, np.int64)), 1)
    return counts


def unweighted_average_recall(truth: ArrayLike, answers: ArrayLike) -> float:
    """Mean over the labels that occur in `truth` of the share of their examples that was recognised."""
    truth, answers = np.asarray(truth), np.asarray(answers)
    if len(truth) == 0:
        raise ValueError("no examples: there is no recall of nothing")
    return float(np.mean([(answers[truth == label] == label).mean() for label in np.unique(truth)]))


def calibration_error(confidence: ArrayLike, is_right: ArrayLike, n_bins: int = 15) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, over bins of equal width (Guo 2017)."""
    confidence, is_right = np.asarray(confidence, float), np.asarray(is_right, float)
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = [
        abs(confidence[bins == b].mean() - is_right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)
    ]
    return float(np.sum(gaps))


def fit_temperature(logits: NDArray[np.float32], truth: ArrayLike) -> float:
    """What to divide logits `(n, n_labels)` by, so that their softmax fits `truth` best in likelihood (Guo 2017).

    Logits of -inf mark labels that an example cannot have.
    """
    truth = np.asarray(truth)
    candidates = np.geomspace(0.25, 8, 161)

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        peak = scaled.max(axis=1)
        log_sum = peak + np.log(np.exp(scaled - peak[:, None]).sum(axis=1))
        return float(np.mean(log_sum - scaled[np.arange(len(truth)), truth]))

    return float(candidates[np.argmin([loss(temperature) for temperature in candidates])])


def activation_of(emotions: ArrayLike) -> NDArray[np.int64]:
    """Activation of emotions given as indices into `EMOTIONS`, shape `(n,)`: 0 high, 1 low, -1 neither."""
    kinds = np.array([0 if emotion in HIGH else 1 if emotion in LOW else -1 for emotion in EMOTIONS], np.int64)
    return np.asarray(kinds[np.asarray(emotions, np.int64)])


def activation_answers(activation: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Answers, 0 high, 1 low, -1 none, and the confidence in each, of probabilities `(n,)` that the activation is high;
    nan where no speech was found."""
    activation = np.asarray(activation, np.float64)
    answers = np.where(np.isnan(activation), -1, np.where(activation >= 0.5, 0, 1)).astype(np.int64)
    return answers, np.nan_to_num(np.maximum(activation, 1 - activation))


def fit_activation(log_odds: NDArray[np.float64], is_high: ArrayLike) -> tuple[float, float]:
    """What to multiply log odds `(n,)` by and what to add, so that they fit `is_high` best in likelihood (Platt 1999).

    The targets are a little short of 0 and 1, as if one more of each had been seen, so that no set of examples makes
    anything infinite. (1, 0) where all examples are of one kind: there is nothing to fit.
    """
    is_high = np.asarray(is_high, bool)
    n_high, n_low = int(is_high.sum()), int((~is_high).sum())
    if not n_high or not n_low:
        return 1.0, 0.0
    targets = np.where(is_high, (n_high + 1) / (n_high + 2), 1 / (n_low + 2))

    def loss(fitted: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = fitted[0] * log_odds + fitted[1]
        residual = scipy.special.expit(z) - targets
        gradient = np.array([np.mean(residual * log_odds), residual.mean()])
        return float(np.mean(np.logaddexp(0, z) - targets * z)), gradient

    found = scipy.optimize.minimize(loss, (1.0, 0.0), jac=True, method="L-BFGS-B", bounds=[(0.05, 20), (-20, 20)])
    return float(found.x[0]), float(found.x[1])
