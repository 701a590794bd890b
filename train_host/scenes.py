"""Rooms in which nobody speaks: what a gate opens on and a model must not call an emotion.

Made of the noises that training may use and of synthesis: steady and coloured noise, hums, knocks, things that switch
on and off. Mono float32 at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from train_host import augment

Samples = NDArray[np.float32]

SCENE_S: Final = 12.0
_N: Final = round(SCENE_S * augment.SAMPLE_RATE_HZ)


def scene(noises: Sequence[Samples], rooms: Sequence[Samples], rng: np.random.Generator) -> Samples:
    """`SCENE_S` of a quiet background, and one to three sources that begin somewhere in it and may switch."""
    out = augment.coloured_noise(_N, rng.uniform(-6, 0), rng) * _gain(rng.uniform(-85, -55))
    for _ in range(rng.integers(1, 4)):
        source = _coloured(_source(noises, rng), 20, rng)
        source /= np.float32(np.sqrt(np.mean(source**2)) + 1e-9)
        if rng.random() < 0.5:
            source *= _switching(rng)
        if len(rooms) and rng.random() < 0.4:
            source = augment.add_room(source, rooms[rng.integers(len(rooms))])
        source[: int(rng.integers(_N // 2))] = 0
        out += source * _gain(rng.uniform(-50, -12))
    out = _coloured(out, 6, rng)
    # through the channels that voices come through in training: a narrow band must not be what tells a voice
    if rng.random() < 0.4:
        bands = ((300, 3400), (None, 4000), (None, 7000), (rng.uniform(120, 400), None))
        out = augment.limit_band(out, *bands[rng.integers(len(bands))])
    if rng.random() < 0.15:
        out = augment.compress(out, rng.uniform(1.5, 4))
    if rng.random() < 0.1:
        out = augment.mu_law(out)
    return np.clip(out, -1, 1)


def _coloured(sound: Samples, most_db: float, rng: np.random.Generator) -> Samples:
    return augment.equalise(sound, rng.uniform(-most_db, most_db, len(augment.EQ_CENTRES_HZ)).tolist())


def _source(noises: Sequence[Samples], rng: np.random.Generator) -> Samples:
    kind = rng.random()
    if len(noises) and kind < 0.4:
        noise = noises[rng.integers(len(noises))]
        stretch = np.resize(np.roll(noise, -int(rng.integers(len(noise)))), 2 * _N).astype(np.float32)
        return augment.change_speed(stretch, rng.uniform(0.8, 1.25))[:_N]
    if kind < 0.6:
        return augment.coloured_noise(_N, rng.uniform(-9, 3), rng)
    if kind < 0.8:
        return _hum(rng)
    return _knocks(rng)


def _hum(rng: np.random.Generator) -> Samples:
    """A motor, a mains transformer, an alarm: a steady fundamental and some of its harmonics."""
    time_s = np.arange(_N) / augment.SAMPLE_RATE_HZ
    pitch_hz = np.exp(rng.uniform(np.log(40), np.log(1500)))
    wobble = 1 + rng.uniform(0, 0.01) * np.sin(2 * np.pi * rng.uniform(0.1, 3) * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz * wobble) / augment.SAMPLE_RATE_HZ
    harmonics = [k for k in range(1, 25) if k * pitch_hz < 7000 and (k == 1 or rng.random() < 0.6)]
    falling = rng.uniform(0.3, 1.5)
    tones = sum(k**-falling * np.sin(k * phase + rng.uniform(0, 6)) for k in harmonics)
    return np.asarray(tones, np.float32) + rng.uniform(0.02, 0.5) * augment.coloured_noise(_N, -3, rng)


def _knocks(rng: np.random.Generator) -> Samples:
    """Dishes, typing, footsteps, machine guns: short decaying resonances, at random or in a beat."""
    if rng.random() < 0.5:
        starts = np.cumsum(rng.exponential(np.exp(rng.uniform(np.log(0.05), np.log(1))), 400))
    else:
        starts = np.arange(400) * np.exp(rng.uniform(np.log(0.05), np.log(0.8)))
    decay_s = np.exp(rng.uniform(np.log(0.005), np.log(0.15)))
    n = round(5 * decay_s * augment.SAMPLE_RATE_HZ)
    ticks = np.zeros(_N, np.float32)
    places = (starts * augment.SAMPLE_RATE_HZ).astype(int)
    places = places[places < _N]
    ticks[places] = rng.uniform(0.2, 1, len(places))
    time_s = np.arange(n) / augment.SAMPLE_RATE_HZ
    body = rng.standard_normal(n) * rng.uniform(0.1, 1)
    for _ in range(rng.integers(0, 4)):
        body += np.sin(2 * np.pi * rng.uniform(80, 5000) * time_s)
    return np.asarray(scipy.signal.oaconvolve(ticks, body * np.exp(-time_s / decay_s))[:_N], np.float32)


def _switching(rng: np.random.Generator) -> Samples:
    """On and off, each for 30 ms to 2 s, over a few milliseconds: `(_N,)` from 0 to 1."""
    on_s, off_s = np.exp(rng.uniform(np.log(0.03), np.log(2), 2))
    lengths = rng.uniform(0.5, 1.5, 1000) * np.tile([on_s, off_s], 500)
    edges = np.cumsum(lengths) * augment.SAMPLE_RATE_HZ
    is_on = np.searchsorted(edges, np.arange(_N)) % 2 == 0
    n = round(rng.uniform(0.002, 0.03) * augment.SAMPLE_RATE_HZ)
    return np.asarray(scipy.signal.oaconvolve(is_on, np.ones(n) / n)[:_N], np.float32)


def _gain(level_db: float) -> np.float32:
    return np.float32(10 ** (level_db / 20))
