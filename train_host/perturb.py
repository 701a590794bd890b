"""Changes to feature sequences that cost next to nothing, made anew for every batch: tempo, vocal tract, microphone
colour, style, SpecAugment.

All work on a whole batch of log-mel `(B, T, n_bands)` at once; `valid (B, T)` says which frames are not padding.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from edge.features import FeatureConfig, dct_matrix
from train_host.recipes.recipe import Perturbed

Float32 = NDArray[np.float32]

MAX_SPEED = 1.15
MAX_WARP = 1.08
"""About the difference between a long and a short vocal tract of one gender."""
MAX_TILT, MAX_RIPPLE = 1.5, 1.0
"""Of a microphone's colour, in the natural logarithm of power: 0.23 to a decibel."""
STYLE_MIX = 0.3
N_MASKS, MAX_TIME, MAX_BANDS = 2, 20, 6


class Perturbation:
    """Those that are asked for, on the columns that hold a spectrum: `log_mel`, or full-length `mfcc`, which are turned
    back into log-mel (their DCT is orthonormal). Other columns stay as they are."""

    def __init__(self, config: FeatureConfig, wanted: Collection[Perturbed]) -> None:
        self._wanted = frozenset(wanted)
        self._slices = config.slices
        self._floor = np.float32(config.floor_db / 10 * np.log(10))
        edges = np.linspace(
            *(2595 * np.log10(1 + hz / 700) for hz in (config.f_min_hz, config.f_max_hz)), config.n_mels + 2
        )
        self._centres_hz = 700 * (10 ** (edges[1:-1] / 2595) - 1)
        self._dct = dct_matrix(config.n_mels, config.n_mels) if config.n_mfcc == config.n_mels else None

    def __call__(self, features: Float32, valid: NDArray[np.bool_], rng: np.random.Generator) -> Float32:
        """Take and return `(B, T, n_features)`, not normalised."""
        if not self._wanted:
            return features
        out = features.copy()
        warp = np.asarray(rng.uniform(1 / MAX_WARP, MAX_WARP, len(features)))
        if "log_mel" in self._slices:
            columns = self._slices["log_mel"]
            out[..., columns] = self._spectral(out[..., columns], valid, warp, rng)
        if "mfcc" in self._slices and self._dct is not None:
            columns = self._slices["mfcc"]
            out[..., columns] = self._spectral(out[..., columns] @ self._dct.T, valid, warp, rng) @ self._dct
        return out

    def _spectral(
        self, log_mel: Float32, valid: NDArray[np.bool_], warp: NDArray[np.float64], rng: np.random.Generator
    ) -> Float32:
        out = log_mel
        if "tract" in self._wanted:
            out = out @ warps(self._centres_hz, warp)
        if "colour" in self._wanted:
            out = out + colours(len(out), out.shape[2], rng)[:, None]
        if "style" in self._wanted:
            out = mix_styles(out, valid, rng)
        out = np.logaddexp(out, self._floor)
        if "masks" in self._wanted:
            mask(out, valid, rng)
        return out


def crop(features: NDArray, n_frames: int, rng: np.random.Generator) -> Float32:
    """At most `n_frames` of `(n, n_features)`, from a random place and at a random tempo."""
    speed = rng.uniform(1 / MAX_SPEED, MAX_SPEED)
    n = max(1, int(len(features) / speed))
    start = rng.integers(max(0, n - n_frames) + 1)
    frames = ((start + np.arange(min(n_frames, n - start))) * speed).astype(int)
    return features[np.minimum(frames, len(features) - 1)].astype(np.float32)


def warps(centres_hz: NDArray[np.float64], factors: NDArray[np.float64]) -> Float32:
    """Matrices `(B, n_bands, n_bands)` that a log-mel row is multiplied by from the left to sound as from a vocal tract
    `factors[b]` times shorter: what was at f is then at f * factor, between bands by interpolation.

    `centres_hz` are the bands' centres, rising. Beyond the outermost bands their values are repeated.
    """
    n_bands = len(centres_hz)
    bands = np.arange(n_bands)
    matrices = np.zeros((len(factors), n_bands, n_bands), np.float32)
    for matrix, factor in zip(matrices, factors, strict=True):
        positions = np.interp(centres_hz / factor, centres_hz, bands)
        below = np.minimum(positions.astype(int), max(n_bands - 2, 0))
        matrix[below, bands] = 1 - (positions - below)
        matrix[np.minimum(below + 1, n_bands - 1), bands] += positions - below
    return matrices


def colours(n: int, n_bands: int, rng: np.random.Generator) -> Float32:
    """Microphones' colours `(n, n_bands)`: what each adds to log-mel, all frames alike.

    A slope from -t to +t over the bands, |t| <= `MAX_TILT`, and a curve through five random points within
    `MAX_RIPPLE`. Their mean is zero: the level is kept.
    """
    across = np.linspace(-1, 1, n_bands)
    # the curve through five points, as a matrix: interpolation is linear in them
    hats = np.stack([np.interp(across, np.linspace(-1, 1, 5), corner) for corner in np.eye(5)])
    curves = rng.uniform(-MAX_TILT, MAX_TILT, (n, 1)) * across + rng.uniform(-MAX_RIPPLE, MAX_RIPPLE, (n, 5)) @ hats
    return np.asarray(curves - curves.mean(axis=1, keepdims=True), np.float32)


def mix_styles(log_mel: Float32, valid: NDArray[np.bool_], rng: np.random.Generator) -> Float32:
    """Every sequence with mean and deviation of its bands drawn towards those of another of the batch, as if one corpus
    had been recorded in the rooms and with the microphones of the other (MixStyle, Zhou et al. 2021, on the input).

    How far is drawn from Beta(`STYLE_MIX`, `STYLE_MIX`): mostly hardly or almost wholly. The mean over all bands stays,
    and with it the level.
    """
    shares = valid[..., None] / np.maximum(valid.sum(axis=1), 1)[:, None, None].astype(np.float32)
    mean = np.sum(log_mel * shares, axis=1, keepdims=True)
    # of no deviation at all: padding, or silence at the floor
    std = np.sqrt(np.sum((log_mel - mean) ** 2 * shares, axis=1, keepdims=True) + np.float32(1e-3))
    others = rng.permutation(len(log_mel))
    share = rng.beta(STYLE_MIX, STYLE_MIX, (len(log_mel), 1, 1)).astype(np.float32)
    new_mean = share * mean + (1 - share) * mean[others]
    new_mean += mean.mean(axis=2, keepdims=True) - new_mean.mean(axis=2, keepdims=True)
    return (log_mel - mean) * ((share * std + (1 - share) * std[others]) / std) + new_mean


def mask(log_mel: Float32, valid: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """SpecAugment, in place: random stretches of frames and of neighbouring bands become their band's mean over the
    sequence.

    The mean, not zero: zero is a level like any other in log-mel. A mask takes 0 to `MAX_TIME` frames, but never more
    than a fifth of the sequence, or 0 to `MAX_BANDS` bands.
    """
    lengths = valid.sum(axis=1)
    means = np.einsum("btf,bt->bf", log_mel, valid.astype(np.float32)) / np.maximum(lengths, 1)[:, None]
    for sequence, mean, length in zip(log_mel, means, lengths.tolist(), strict=True):
        n_bands = sequence.shape[1]
        for _ in range(N_MASKS):
            n = int(rng.integers(min(MAX_TIME, length // 5) + 1))
            start = int(rng.integers(length - n + 1))
            sequence[start : start + n] = mean
        for _ in range(N_MASKS):
            n = int(rng.integers(min(MAX_BANDS, n_bands) + 1))
            start = int(rng.integers(n_bands - n + 1))
            sequence[:, start : start + n] = mean[start : start + n]
