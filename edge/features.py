"""Frames to feature vectors: MFCC, log-mel, chroma, RMS, ZCR, pitch and deltas, all from one spectrum.

Conventions (they differ between libraries; these are ours):
- window: periodic Hann, because frames overlap and are analysed, not designed as a filter; no padding, no centring;
- spectrum: power, `|rfft|^2` of `n_fft` points, the next power of two above the window;
- mel: HTK's formula, triangles linear in Hz with peak 1, on exact (not rounded) edges;
- MFCC: orthonormal DCT-II of the natural logarithm of the mel powers, coefficient 0 kept, no lifter;
- level: the power of a frame is taken relative to the speech so far (`LevelTracker`), and `floor_db` below that level
  is added before the logarithm. A quiet microphone then gives what a loud one gives, and neither the hiss of a
  recorder nor the silence of a codec shows.

Sources: Davis and Mermelstein 1980 (MFCC), the HTK book (mel), Boersma 1993 (pitch from the autocorrelation divided by
that of the window), Ellis 2007 (chroma).
"""

from __future__ import annotations

from functools import cached_property
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.denoise import NoiseReducer
from edge.framing import means, powers
from edge.normalize import RunningMean

Float32 = NDArray[np.float32]

Column = Literal["mfcc", "mfcc_delta", "log_mel", "chroma", "rms", "zcr", "pitch"]
"""`pitch` is two columns: log2 of the fundamental over 100 Hz, weighted by the voicing, and the voicing in 0..1."""

N_CHROMA: Final = 12
DELTA_REACH: Final = 2
"""Deltas are the slope of a line through 2 frames on either side: 20 ms of look-ahead."""
AT_ONCE: Final = 320
"""Frames computed at a time at the most: enough that numpy's calls cost less than what they compute, and few enough
that what frames become on the way stays near the processor."""
_BANDS_AT_ONCE: Final = 16
"""Mel bands of one matrix product. Fewer need less of the spectrum each, but more products."""
PITCH_RANGE_HZ: Final = (78.0, 420.0)
"""The longest lag is half a 25 ms window: beyond it too little of the frame overlaps itself."""


class FeatureConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """What a feature vector is made of, in physical units; every length in samples is derived."""

    sample_rate_hz: int
    window_ms: float
    hop_ms: float
    n_mels: int
    f_min_hz: float
    f_max_hz: float
    n_mfcc: int
    columns: tuple[Column, ...]
    """Order of the feature vector."""
    level_memory_s: float
    """How long the level of speech is remembered; 0 leaves the level as it is."""
    floor_db: float
    """What is added to every power before the logarithm: dB relative to the level of speech (or to full scale)."""
    noise_reduction_db: float
    """How far a mel band is turned down at the most while it holds but noise; 0 leaves noise as it is. `mfcc`,
    `log_mel` and deltas are made of these bands; RMS, ZCR, pitch and chroma are of the frame as it was heard."""

    def check(self) -> None:
        """Raise ValueError, naming the setting, for settings that cannot be computed."""
        if not 8000 <= self.sample_rate_hz <= 48000:
            raise ValueError(f"sample_rate_hz must be 8000 to 48000, got {self.sample_rate_hz}")
        if not (1 <= self.window_ms <= 200 and 1 <= self.hop_ms <= self.window_ms):
            raise ValueError(f"need 1 <= hop_ms <= window_ms <= 200, got {self.hop_ms} and {self.window_ms}")
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"need 0 <= f_min_hz < f_max_hz <= half the sample rate, got {self.f_min_hz} and {self.f_max_hz}"
            )
        if not 1 <= self.n_mfcc <= self.n_mels <= 256:
            raise ValueError(f"need 1 <= n_mfcc <= n_mels <= 256, got {self.n_mfcc} and {self.n_mels}")
        if not self.columns or len(set(self.columns)) != len(self.columns):
            raise ValueError(f"columns must name each kind once, got {list(self.columns)}")
        if not (self.level_memory_s == 0 or 2 <= self.level_memory_s <= 3600):
            raise ValueError(f"level_memory_s must be 0 or 2 to 3600, got {self.level_memory_s}")
        if not -120 <= self.floor_db <= 0:
            raise ValueError(f"floor_db must be -120 to 0, got {self.floor_db}")
        if not 0 <= self.noise_reduction_db <= 40:
            raise ValueError(f"noise_reduction_db must be 0 to 40, got {self.noise_reduction_db}")
        if "pitch" in self.columns and self.window_ms < 20:
            raise ValueError(f"the column pitch needs window_ms of at least 20, got {self.window_ms}")
        # too many filters for the FFT
        mel_filterbank(self.n_mels, self.n_fft, self.sample_rate_hz, self.f_min_hz, self.f_max_hz)

    @cached_property
    def window_length(self) -> int:
        return round(self.sample_rate_hz * self.window_ms / 1000)

    @cached_property
    def hop_length(self) -> int:
        return round(self.sample_rate_hz * self.hop_ms / 1000)

    @cached_property
    def n_fft(self) -> int:
        return 1 << (self.window_length - 1).bit_length()

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each kind of column stands in the feature vector."""
        widths = {
            "mfcc": self.n_mfcc,
            "mfcc_delta": self.n_mfcc,
            "log_mel": self.n_mels,
            "chroma": N_CHROMA,
            "rms": 1,
            "zcr": 1,
            "pitch": 2,
        }
        slices: dict[str, slice] = {}
        start = 0
        for column in self.columns:
            slices[column] = slice(start, start + widths[column])
            start += widths[column]
        return slices

    @cached_property
    def n_features(self) -> int:
        return int(self.slices[self.columns[-1]].stop)


def hann(length: int) -> Float32:
    """Periodic Hann window, shape `(length,)`."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length), np.float32)


def mel_filterbank(n_mels: int, n_fft: int, sample_rate_hz: int, f_min_hz: float, f_max_hz: float) -> Float32:
    """Triangles on HTK's mel scale, shape `(n_fft // 2 + 1, n_mels)`; each peaks at 1 at its centre.

    Raises ValueError where a triangle is so narrow that it holds no bin: its feature would be silence for ever.
    """
    mel_min, mel_max = (2595 * np.log10(1 + hz / 700) for hz in (f_min_hz, f_max_hz))
    edges_hz = 700 * (10 ** (np.linspace(mel_min, mel_max, n_mels + 2) / 2595) - 1)
    bins_hz = np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft
    left, centre, right = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz[:, None] - left) / (centre - left)
    falling = (right - bins_hz[:, None]) / (right - centre)
    weights = np.maximum(0, np.minimum(rising, falling))
    if not weights.any(axis=0).all():
        empty = int(np.argmin(weights.any(axis=0)))
        raise ValueError(f"n_mels={n_mels} is too many: filter {empty} lies between two bins of a {n_fft}-point FFT")
    return np.asarray(weights, np.float32)


def dct_matrix(n_in: int, n_out: int) -> Float32:
    """Orthonormal DCT-II as a matrix to multiply from the right, shape `(n_in, n_out)`."""
    angle = np.pi / n_in * (np.arange(n_in)[:, None] + 0.5) * np.arange(n_out)
    matrix = np.sqrt(2 / n_in) * np.cos(angle)
    matrix[:, 0] /= np.sqrt(2)
    return np.asarray(matrix, np.float32)


def chroma_filterbank(n_fft: int, sample_rate_hz: int) -> Float32:
    """Share of each bin in the 12 pitch classes (C first), shape `(n_fft // 2 + 1, 12)`.

    A bin counts for its nearest semitone (A4 = 440 Hz); bins below 100 Hz and above 5 kHz, where a semitone is narrower
    than a bin or no voice carries pitch, count for none.
    """
    bins_hz = np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft
    used = (bins_hz >= 100) & (bins_hz <= 5000)
    weights = np.zeros((len(bins_hz), N_CHROMA), np.float32)
    midi = np.round(69 + 12 * np.log2(bins_hz[used] / 440)).astype(int)
    weights[np.flatnonzero(used), midi % 12] = 1
    return weights


def rms(frames: Float32) -> Float32:
    """Root of the mean square of each frame, shape `(n_frames,)`, in the samples' unit."""
    return np.asarray(np.sqrt(powers(frames)), np.float32)


def zcr(frames: Float32) -> Float32:
    """Share of the steps from one sample to the next that change sign, shape `(n_frames,)`, in 0..1.

    Zero counts as positive. A constant offset hides crossings, so the mean of the frame is removed first.
    """
    negative = np.less(frames, means(frames)[:, None]).view(np.int8)
    # all frames as one row: numpy is slow to begin a row; from one frame to the next there is no step
    changes = np.empty_like(negative)
    in_a_row = negative.reshape(-1)
    np.bitwise_xor(in_a_row[1:], in_a_row[:-1], out=changes.reshape(-1)[:-1])
    changes[:, -1] = 0
    # what `count_nonzero` says, in a third of the time
    crossings = np.add.reduce(changes, axis=1, dtype=np.int16)
    return np.asarray(np.true_divide(crossings, np.float32(frames.shape[1] - 1), dtype=np.float32))


def deltas(sequence: Float32, reach: int = DELTA_REACH) -> Float32:
    """Slope over time of each column, same shape; the ends see their own value repeated.

    Least squares over `reach` frames on either side, as in HTK and python_speech_features.
    """
    if len(sequence) == 0:
        return sequence
    padded = np.pad(sequence, ((reach, reach), (0, 0)), mode="edge")
    n = len(sequence)
    total = sum(
        k * (padded[reach + k : reach + k + n] - padded[reach - k : reach - k + n]) for k in range(1, reach + 1)
    )
    return np.asarray(total / (2 * sum(k * k for k in range(1, reach + 1))), np.float32)


class DeltaStage:
    """Replaces some columns of a sequence by their slope over time, the sequence arriving piece by piece.

    Rows come out `DELTA_REACH` rows late, the rest with `finish`; together they are `deltas` of the whole sequence.
    """

    def __init__(self, columns: slice) -> None:
        self._columns = columns
        self._waiting: Float32 | None = None
        self._n_past = 0

    def push(self, rows: Float32) -> Float32:
        """Take `(n, n_features)`, return the rows whose neighbours are all known."""
        held = rows if self._waiting is None else np.concatenate([self._waiting, rows])
        return self._take(held, max(self._n_past, len(held) - DELTA_REACH))

    def finish(self) -> Float32:
        """End the sequence: return the rows still held, and start anew."""
        held = self._waiting
        if held is None:
            return np.empty((0, 0), np.float32)
        out = self._take(held, len(held))
        self._waiting, self._n_past = None, 0
        return out

    def _take(self, held: Float32, end: int) -> Float32:
        out = held[self._n_past : end].copy()
        out[:, self._columns] = deltas(held[:, self._columns])[self._n_past : end]
        keep = max(0, end - DELTA_REACH)
        self._waiting, self._n_past = held[keep:], end - keep
        return out


class FeatureExtractor:
    """Turns the voiced frames of one stream into feature vectors.

    Kept between calls are the level of the speech so far, and with noise reduction the level of the noise. They live as
    long as the stream. The scratch buffers are as long as the largest group of frames was, and never longer than 320.
    """

    def __init__(self, config: FeatureConfig) -> None:
        config.check()
        self.config = config
        columns = set(config.columns)
        window = hann(config.window_length)
        # numpy transforms in single precision only where it divides by `n_fft`, else in double and 1.6 times as long;
        # `n_fft` is a power of two, so that multiplying by it beforehand changes no digit
        self._window = window * np.float32(config.n_fft)
        # by Parseval the mel powers of a frame then add up to about its mean square, the unit of the level
        mel = mel_filterbank(config.n_mels, config.n_fft, config.sample_rate_hz, config.f_min_hz, config.f_max_hz)
        mel *= np.float32(2 / (config.n_fft * (window @ window)))
        # a triangle holds few of the bins, so a group of neighbours needs but a part of the spectrum
        self._mel: list[tuple[slice, slice, Float32]] = []
        for start in range(0, config.n_mels, _BANDS_AT_ONCE):
            bands = slice(start, min(start + _BANDS_AT_ONCE, config.n_mels))
            held = np.flatnonzero(mel[:, bands].any(axis=1))
            bins = slice(int(held[0]), int(held[-1]) + 1)
            self._mel.append((bins, bands, np.ascontiguousarray(mel[bins, bands])))
        self._dct = dct_matrix(config.n_mels, config.n_mfcc)
        self._chroma = chroma_filterbank(config.n_fft, config.sample_rate_hz) if "chroma" in columns else None
        self._slices = config.slices
        self._windowed: Float32 = np.zeros((0, config.n_fft), np.float32)
        self._power: Float32 = np.empty((0, config.n_fft // 2 + 1), np.float32)
        self._needs_spectrum = bool(columns - {"rms", "zcr"})
        self._needs_mel = bool(columns & {"mfcc", "mfcc_delta", "log_mel"})
        self._floor = np.float32(10 ** (config.floor_db / 10))
        if "pitch" in columns:
            lowest, highest = PITCH_RANGE_HZ
            self._lags = np.arange(
                int(config.sample_rate_hz / highest), min(int(config.sample_rate_hz / lowest), config.window_length - 1)
            )
            self._lag_columns = slice(int(self._lags[0]), int(self._lags[-1]) + 1)
            of_window = np.fft.irfft(np.abs(np.fft.rfft(window, config.n_fft)) ** 2)
            self._window_autocorrelation = np.asarray(of_window[self._lags] / of_window[0], np.float32)
            self._octaves = np.log2(config.sample_rate_hz / self._lags / 100)
            # an octave below the fundamental correlates just as well: prefer the shorter lag (Boersma's octave cost)
            octave_cost = np.asarray(1 - 0.06 * np.log2(self._lags / self._lags[0]), np.float32)
            self._lag_weight = octave_cost / self._window_autocorrelation
        memory_frames = config.level_memory_s * 1000 / config.hop_ms
        self._level = RunningMean(1, memory_frames) if memory_frames else None
        self._reducer = NoiseReducer(config.noise_reduction_db, config.hop_ms) if config.noise_reduction_db else None

    def reset(self) -> None:
        """Start as on a new stream: the levels of speech and noise are unknown."""
        if self._level is not None:
            self._level.reset()
        if self._reducer is not None:
            self._reducer.reset()

    def compute(self, frames: Float32) -> Float32:
        """Feature vectors of consecutive voiced frames `(n, window_length)`: float32 `(n, n_features)`.

        `mfcc_delta` holds the MFCC themselves here: their slope needs frames to come, and `DeltaStage` takes it.
        """
        out = np.empty((len(frames), self.config.n_features), np.float32)
        for start in range(0, len(frames), AT_ONCE):
            self._fill(out[start : start + AT_ONCE], frames[start : start + AT_ONCE])
        return out

    def _fill(self, out: Float32, frames: Float32) -> None:
        """Put the feature vectors of at most `AT_ONCE` frames into `out`, in all of its columns."""
        config, n = self.config, len(frames)
        slices = self._slices
        reference = None
        if self._level is not None or "rms" in slices:
            power = powers(frames)[:, None]
            if self._level is not None:
                # 1e-9 is -90 dB: digital silence must not divide by zero
                reference = np.maximum(self._level.push(power), np.float32(1e-9))
            if "rms" in slices:
                out[:, slices["rms"]] = self._log(power, reference)
        if "zcr" in slices:
            out[:, slices["zcr"].start] = zcr(frames)
        if not self._needs_spectrum:
            return
        if n > len(self._windowed):
            self._windowed = np.zeros((n, config.n_fft), np.float32)
            self._power = np.empty((n, config.n_fft // 2 + 1), np.float32)
        windowed = self._windowed[:n]  # zeros stand behind the window for ever
        np.multiply(frames, self._window, out=windowed[:, : config.window_length])
        spectrum = np.fft.rfft(windowed, norm="forward")
        # squared where they stand, real and imaginary parts side by side: less has to pass the processor's cache
        parts = spectrum.view(spectrum.real.dtype)
        np.square(parts, out=parts)
        power_spectrum = self._power[:n]
        np.add(parts[:, ::2], parts[:, 1::2], out=power_spectrum)
        if self._needs_mel:
            mel = np.empty((n, config.n_mels), np.float32)
            for bins, bands, weights in self._mel:
                np.matmul(power_spectrum[:, bins], weights, out=mel[:, bands])
            if self._reducer is not None:
                mel = self._reducer.push(mel)
            log_mel = self._log(mel, reference)
            if "log_mel" in slices:
                out[:, slices["log_mel"]] = log_mel
            if "mfcc" in slices or "mfcc_delta" in slices:
                for column in ("mfcc", "mfcc_delta"):
                    if column in slices:
                        np.matmul(log_mel, self._dct, out=out[:, slices[column]])
        if self._chroma is not None:
            energy = power_spectrum @ self._chroma
            out[:, slices["chroma"]] = energy / np.maximum(energy.max(axis=1, keepdims=True), np.float32(1e-9))
        if "pitch" in slices:
            # as a complex spectrum, since numpy goes back from a real one in double precision
            parts[:, ::2], parts[:, 1::2] = power_spectrum, 0
            autocorrelation = np.asarray(np.fft.irfft(spectrum, config.n_fft), np.float32)  # of numpy 1 it is double
            self._pitch(autocorrelation, out[:, slices["pitch"]])

    def _log(self, power: Float32, reference: Float32 | None) -> Float32:
        """Natural logarithm of `power` relative to the level of speech `(n, 1)`, if that is known, above the floor."""
        relative: Float32 = power + self._floor if reference is None else power / reference + self._floor
        np.log(relative, out=relative)
        return relative

    def _pitch(self, autocorrelation: Float32, out: Float32) -> None:
        """Put weighted log pitch and voicing into `out`, shape `(n, 2)`."""
        best = np.argmax(autocorrelation[:, self._lag_columns] * self._lag_weight, axis=1)
        found = autocorrelation[np.arange(len(best)), self._lags[best]]
        found /= np.maximum(autocorrelation[:, 0], 1e-9)
        found /= self._window_autocorrelation[best]
        voicing = np.minimum(np.maximum(found, 0), 1)
        out[:, 0] = self._octaves[best] * voicing
        out[:, 1] = voicing
