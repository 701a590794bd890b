"""Recordings as they could also have been: other rooms, noises, microphones, channels, voices.

The first part works on samples: mono float32 at 16 kHz in, the same out, as long as before unless the docstring says
otherwise. The second works on sequences of log-mel frames, `(n_frames, n_bands)`. All functions are pure; what is
random takes a `numpy.random.Generator`. Silent, tiny and empty input comes back finite.

"Level" is that of the speech (`active_level`), not of the pauses: RAVDESS is half silence, TESS has none.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal
import soundfile
import soxr

Samples: TypeAlias = npt.NDArray[np.float32]
Sequences: TypeAlias = npt.NDArray[np.float32]

SAMPLE_RATE_HZ: Final = 16000
EQ_CENTRES_HZ: Final = (60.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 7500.0)
"""Where `equalise` takes its gains."""

_LEVEL_WINDOW: Final = 320  # 20 ms
_ACTIVE_BELOW_LOUDEST: Final = 1e-3  # as power: 30 dB
_TINY: Final = 1e-12
_FILTER_PAD: Final = 2048  # longer than the responses of `_filter`'s smooth curves, so that the end cannot wrap round


# --- samples ---------------------------------------------------------------------------------------------------------


def active_level(samples: Samples) -> float:
    """Root mean square over the 20 ms windows that are within 30 dB of the loudest; 0.0 for silence."""
    n_windows = len(samples) // _LEVEL_WINDOW
    if n_windows == 0:
        return _rms(samples)
    windows = samples[: n_windows * _LEVEL_WINDOW].reshape(n_windows, _LEVEL_WINDOW)
    powers = np.einsum("ij,ij->i", windows, windows, dtype=np.float64) / _LEVEL_WINDOW
    return float(np.sqrt(powers[powers >= powers.max() * _ACTIVE_BELOW_LOUDEST].mean()))


def change_gain(samples: Samples, gain_db: float) -> Samples:
    """Louder or softer; nothing is clipped."""
    return samples * np.float32(10 ** (gain_db / 20))


def add_noise(samples: Samples, noise: Samples, snr_db: float, rng: np.random.Generator) -> Samples:
    """`samples` with a random stretch of `noise` under it, the speech's level `snr_db` above the noise's.

    Noise shorter than the recording is repeated from a random place. Silent recordings and silent stretches of noise
    have no such ratio: the recording is then returned as it is.
    """
    n = len(samples)
    if n == 0 or len(noise) == 0:
        return samples
    if len(noise) > n:
        start = int(rng.integers(len(noise) - n + 1))
        stretch = noise[start : start + n]
    else:
        stretch = np.resize(np.roll(noise, -int(rng.integers(len(noise)))), n)
    level, noise_level = active_level(samples), _rms(stretch)
    if noise_level <= 1e-3 * _rms(noise) or level == 0:  # a pause in the noise: raising it would only raise its hiss
        return samples
    return samples + stretch * np.float32(level / noise_level * 10 ** (-snr_db / 20))


def coloured_noise(n: int, slope_db: float, rng: np.random.Generator) -> Samples:
    """`n` samples of noise, unit power, that changes by `slope_db` per octave: 0 is white, -3 pink, -6 brown."""
    if n < 2:
        return np.zeros(n, np.float32)
    spectrum = scipy.fft.rfft(rng.standard_normal(n, dtype=np.float32))
    spectrum *= (np.maximum(np.arange(len(spectrum)), 1) ** (slope_db / (20 * np.log10(2)))).astype(np.float32)
    spectrum[:1] = 0
    noise: Samples = scipy.fft.irfft(spectrum, n)
    return noise / np.float32(max(_rms(noise), _TINY))


def add_room(samples: Samples, room: Samples) -> Samples:
    """The recording as heard in a room, by its impulse response.

    The direct sound, the response's largest value, stays where it was: labels and pauses keep their place. The level
    is kept. What rings on after the end is cut off.
    """
    if len(samples) == 0 or not np.any(room):
        return samples
    n, direct = len(samples), int(np.argmax(np.abs(room)))
    size = scipy.fft.next_fast_len(n + len(room) - 1, real=True)
    spectrum = scipy.fft.rfft(samples, size) * scipy.fft.rfft(room, size)
    return _with_level_of(samples, scipy.fft.irfft(spectrum, size)[direct : direct + n])


def change_speed(samples: Samples, factor: float) -> Samples:
    """Played `factor` times as fast: `round(len / factor)` samples, pitch and formants move along."""
    n = round(len(samples) / factor)
    if len(samples) == 0:
        return samples
    return _to_length(soxr.resample(samples, factor, 1.0, "MQ"), n)


def shift_pitch(samples: Samples, semitones: float) -> Samples:
    """Higher or lower by `semitones`, as long as before; formants move along, so keep to two semitones.

    Resampled, then brought back to its length by WSOLA (waveform-similarity overlap-add): windows of 32 ms, each taken
    within 10 ms of its place where it continues the last one best.
    """
    if len(samples) < 2 * _WSOLA_WINDOW:
        return samples  # too short to take windows from; nothing in 64 ms says how high a voice is
    return _stretch(change_speed(samples, 2 ** (semitones / 12)), len(samples))


def equalise(samples: Samples, gains_db: Sequence[float]) -> Samples:
    """A microphone's colour: one gain for each of `EQ_CENTRES_HZ`, smooth between them over log frequency."""
    if len(gains_db) != len(EQ_CENTRES_HZ):
        raise ValueError(
            f"equalise takes {len(EQ_CENTRES_HZ)} gains, one for each of EQ_CENTRES_HZ; got {len(gains_db)}"
        )
    # drawn on a coarse grid first: one power of ten for each of 24,000 bins would take longer than the FFT
    grid_hz = np.geomspace(EQ_CENTRES_HZ[0], EQ_CENTRES_HZ[-1], 96)
    gains = 10 ** (np.interp(np.log(grid_hz), np.log(EQ_CENTRES_HZ), gains_db) / 20)
    return _filter(samples, lambda bins_hz: np.interp(bins_hz, grid_hz, gains))


def limit_band(samples: Samples, low_hz: float | None, high_hz: float | None) -> Samples:
    """Only what is between the two (None: open on that side); as steep as an eighth-order Butterworth filter.

    A telephone is 300 to 3400 Hz; zero phase, so nothing moves in time.
    """

    def gains(bins_hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        power = np.ones_like(bins_hz)
        if low_hz is not None:
            power /= 1 + (low_hz / np.maximum(bins_hz, _TINY)) ** 16
        if high_hz is not None:
            power /= 1 + (bins_hz / high_hz) ** 16
        return np.sqrt(power)

    return _filter(samples, gains)


def clip_peaks(samples: Samples, depth_db: float) -> Samples:
    """Overdriven: everything within `depth_db` of the highest peak is cut off flat."""
    ceiling = np.float32(np.abs(samples).max(initial=0.0) * 10 ** (-depth_db / 20))
    return np.clip(samples, -ceiling, ceiling)


def compress(samples: Samples, ratio: float) -> Samples:
    """An automatic gain control: what is above a tenth of the speech's level (-20 dB) rises `ratio` times less.

    Follows the envelope with a time constant of 10 ms. The level is kept.
    """
    threshold = 0.1 * active_level(samples)
    if threshold == 0:
        return samples
    pole = np.exp(-1 / (0.010 * SAMPLE_RATE_HZ))
    power = scipy.signal.lfilter([1 - pole], [1, -pole], samples.astype(np.float64) ** 2)
    over = np.maximum(power / threshold**2, 1.0).astype(np.float32)
    return _with_level_of(samples, samples * over ** np.float32((1 / ratio - 1) / 2))


def mu_law(samples: Samples) -> Samples:
    """Through the 8-bit companding of digital telephony (mu = 255), clipped to [-1, 1]."""
    bounded = np.clip(samples, -1, 1)
    code = np.round(np.log1p(255 * np.abs(bounded)) * (127 / math.log(256)))
    return np.sign(bounded) * np.expm1(code * (math.log(256) / 127)) / 255


def opus(samples: Samples, compression_level: float) -> Samples:
    """Through the Opus codec and back; 0.9 is about 17 kbit/s, 1.0 about 7. Clipped to [-1, 1].

    Through `mu_law` where libsndfile was built without Opus.
    """
    if len(samples) == 0:
        return samples
    if "OPUS" not in soundfile.available_subtypes("OGG"):
        return mu_law(samples)
    file = io.BytesIO()
    bounded = np.clip(samples, -1, 1)
    soundfile.write(file, bounded, SAMPLE_RATE_HZ, "OPUS", format="OGG", compression_level=compression_level)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return _to_length(decoded, len(samples))


class Augmenter:
    """Draws a chain of the changes above for each recording, in the order in which they happen in the world.

    | step | chance | drawn from |
    | --- | --- | --- |
    | speed, or else pitch | 0.35, 0.15 | 0.9 to 1.1 times; up to 2 semitones either way |
    | room | 0.35 | `rooms`, cut to 0.6 s after the direct sound, half as often with the speaker close by |
    | noise | 0.6 | `noises` or (0.3 of these, always if there are none) coloured noise; 0 to 25 dB |
    | microphone | 0.5 | up to 6 dB either way at each of `EQ_CENTRES_HZ` |
    | band | 0.25 | telephone, low-pass at 4 kHz or 7 kHz, high-pass at 120 to 400 Hz |
    | gain control | 0.15 | ratio 1.5 to 4 |
    | level | 1 | -12 to +6 dB |
    | clipping | 0.05 | 3 to 12 dB deep |
    | codec | 0.05 | mu-law, or one in two times Opus at 7 to 17 kbit/s |

    The result has the length of the input, except after a change of speed, and lies in [-1, 1] as a converter's does.
    """

    def __init__(self, noises: Sequence[Samples], rooms: Sequence[Samples], rng: np.random.Generator) -> None:
        self._noises = noises  # as they are: looking through minutes of noise here would cost more than a whole chain
        self._rooms = rooms
        self._rng = rng

    def __call__(self, samples: Samples) -> Samples:
        rng = self._rng
        out = samples.astype(np.float32, copy=False)
        what = rng.random()
        if what < 0.35:
            out = change_speed(out, rng.uniform(0.9, 1.1))
        elif what < 0.5:
            out = shift_pitch(out, rng.uniform(-2, 2))
        if len(self._rooms) and rng.random() < 0.35:
            room = _near(self._rooms[rng.integers(len(self._rooms))])
            reverberant = add_room(out, room)
            # a speaker close by: direct sound and room in equal parts of level
            out = reverberant if rng.random() < 0.5 else _with_level_of(out, out + reverberant)
        if rng.random() < 0.6:
            out = add_noise(out, self._noise(len(out)), rng.uniform(0, 25), rng)
        if rng.random() < 0.5:
            out = equalise(out, rng.uniform(-6, 6, len(EQ_CENTRES_HZ)).tolist())
        if rng.random() < 0.25:
            bands = ((300, 3400), (None, 4000), (None, 7000), (rng.uniform(120, 400), None))
            out = limit_band(out, *bands[rng.integers(len(bands))])
        if rng.random() < 0.15:
            out = compress(out, rng.uniform(1.5, 4))
        out = change_gain(out, rng.uniform(-12, 6))
        if rng.random() < 0.05:
            out = clip_peaks(out, rng.uniform(3, 12))
        if rng.random() < 0.05:
            out = mu_law(out) if rng.random() < 0.5 else opus(out, rng.uniform(0.9, 1))
        return np.clip(out, -1, 1)

    def _noise(self, n: int) -> Samples:
        if len(self._noises) and self._rng.random() >= 0.3:
            return self._noises[self._rng.integers(len(self._noises))]
        return coloured_noise(n, self._rng.uniform(-6, 0), self._rng)


_WSOLA_WINDOW: Final = 512
_WSOLA_HOP: Final = _WSOLA_WINDOW // 2
_WSOLA_REACH: Final = 160


def _stretch(samples: Samples, n_out: int) -> Samples:
    """`n_out` samples of the same pitch, by WSOLA."""
    ratio = len(samples) / n_out
    n_windows = n_out // _WSOLA_HOP + 2
    # each window starts one hop early, so that the first sample already lies under two windows
    starts = np.round(np.arange(n_windows) * _WSOLA_HOP * ratio).astype(int)
    padded = np.pad(samples, (_WSOLA_HOP + _WSOLA_REACH, 2 * _WSOLA_WINDOW + _WSOLA_REACH + _WSOLA_HOP))
    total = np.concatenate(([0.0], np.cumsum(padded.astype(np.float64) ** 2)))
    norms = np.sqrt(np.maximum(total[_WSOLA_WINDOW:] - total[:-_WSOLA_WINDOW], 0)) + 1e-6
    window = np.hanning(_WSOLA_WINDOW + 1)[:-1].astype(np.float32)
    out = np.zeros((n_windows + 1) * _WSOLA_HOP, np.float32)
    taken = _WSOLA_REACH
    for number, start in enumerate(starts):
        if number:
            natural = padded[taken + _WSOLA_HOP : taken + _WSOLA_HOP + _WSOLA_WINDOW]
            around = padded[start : start + 2 * _WSOLA_REACH + _WSOLA_WINDOW]
            likeness = np.correlate(around, natural, "valid") / norms[start : start + 2 * _WSOLA_REACH + 1]
            taken = start + int(np.argmax(likeness))
        place = number * _WSOLA_HOP
        out[place : place + _WSOLA_WINDOW] += window * padded[taken : taken + _WSOLA_WINDOW]
    return out[_WSOLA_HOP : _WSOLA_HOP + n_out]


def _filter(samples: Samples, gains: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Samples:
    """`samples` with its spectrum times `gains(bins_hz)`."""
    if len(samples) == 0:
        return samples
    size = scipy.fft.next_fast_len(len(samples) + _FILTER_PAD, real=True)
    bins_hz = np.arange(size // 2 + 1) * (SAMPLE_RATE_HZ / size)
    spectrum = scipy.fft.rfft(samples, size) * gains(bins_hz).astype(np.float32)
    filtered: Samples = scipy.fft.irfft(spectrum, size)[: len(samples)]
    return filtered


def _near(room: Samples) -> Samples:
    """The response of a living room's length: a hall's tail would bury the speech, and no light hangs in a hall."""
    if len(room) == 0:
        return room
    direct = int(np.argmax(np.abs(room)))
    n_tail = round(0.6 * SAMPLE_RATE_HZ)
    cut = room[max(0, direct - _LEVEL_WINDOW) : direct + n_tail].astype(np.float32)
    n_fade = min(n_tail // 2, len(cut) - 1)
    cut[len(cut) - n_fade :] *= np.cos(np.linspace(0, np.pi / 2, n_fade, dtype=np.float32))
    return cut


def _with_level_of(model: Samples, samples: Samples) -> Samples:
    level = active_level(samples)
    return samples * np.float32(active_level(model) / level) if level > _TINY else samples


def _to_length(samples: Samples, n: int) -> Samples:
    return samples[:n] if len(samples) >= n else np.pad(samples, (0, n - len(samples)))


def _rms(samples: Samples) -> float:
    # a dot product in float32: noises are minutes long, and five digits are plenty for a level
    return float(np.sqrt(np.dot(samples, samples) / len(samples))) if len(samples) else 0.0
