"""Test recordings in noise and in rooms: the same sound and stretch for a recording whatever model hears it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train_host.augment import add_noise, add_room
from train_host.corpora import Sound, load_sounds

SNRS_DB: Final = (20.0, 10.0, 5.0, 0.0)


@dataclass(frozen=True)
class Surroundings:
    """One condition. `sounds` are noises at `snr_db`, or responses of rooms where that is None; each recording gets one
    of them, by a chance that depends on the names of the two and nothing else."""

    name: str
    snr_db: float | None
    sounds: tuple[Sound, ...]
    samples: tuple[NDArray[np.float32], ...]

    def chosen(self, path: Path) -> Sound:
        """Which of the sounds the recording `path` gets."""
        return self.sounds[int(self._rng(path).integers(len(self.sounds)))]

    def __call__(self, samples: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
        """The recording `path`, of which `samples` are given, as it sounds there; as long as before."""
        rng = self._rng(path)
        sound = self.samples[int(rng.integers(len(self.sounds)))]
        out = add_room(samples, sound) if self.snr_db is None else add_noise(samples, sound, self.snr_db, rng)
        return np.clip(out, -1, 1)

    def _rng(self, path: Path) -> np.random.Generator:
        return np.random.default_rng([zlib.crc32(path.name.encode()), zlib.crc32(self.name.encode())])


def surroundings(sounds: list[Sound]) -> list[Surroundings]:
    """Noise at each of `SNRS_DB`, and rooms, as far as there are sounds for them. Raises CorpusError where one of them
    cannot be read."""
    noises = tuple(sound for sound in sounds if sound.kind == "noise")
    rooms = tuple(sound for sound in sounds if sound.kind == "rir")
    found = []
    if noises:
        samples = tuple(load_sounds(noises, "noise"))
        found += [Surroundings(f"noise at {snr_db:g} dB", snr_db, noises, samples) for snr_db in SNRS_DB]
    if rooms:
        found.append(Surroundings("rooms", None, rooms, tuple(load_sounds(rooms, "rir"))))
    return found
