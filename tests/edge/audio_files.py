"""Small recordings of every kind, and a microphone that plays one, for the tests."""

import os
from pathlib import Path

import numpy as np
import soundfile


def tone(seconds: float, rate_hz: int, n_channels: int = 1, f_hz: float = 300.0, peak: float = 0.4) -> np.ndarray:
    """A sine, shape (n, n_channels): known at every instant, so also after resampling."""
    t_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.repeat((peak * np.sin(2 * np.pi * f_hz * t_s)).astype(np.float32)[:, np.newaxis], n_channels, axis=1)


def noise(seconds: float, rate_hz: int, n_channels: int = 1, peak: float = 0.4, seed: int = 0) -> np.ndarray:
    """White noise, shape (n, n_channels)."""
    n = round(seconds * rate_hz)
    return np.random.default_rng(seed).uniform(-peak, peak, (n, n_channels)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate_hz: int, subtype: str | None = None, kind: str | None = None) -> Path:
    """Write a recording in the format that the name ends in (or `kind`); returns the path."""
    soundfile.write(path, samples, rate_hz, subtype=subtype, format=kind)
    return path


def write_microphone(folder: Path, samples: np.ndarray) -> dict[str, str]:
    """Describe to ALSA a "desk microphone" (also the default one) that hears `samples`, then a gigabyte of silence.

    `samples` has shape (n, 2); they come at 44.1 kHz by the book, but as fast as they are read: a real clock needs a
    real card. Returns the environment under which PortAudio finds this microphone and no other device.
    """
    heard = folder / "heard.raw"
    heard.write_bytes(samples.astype("<f4").tobytes())
    os.truncate(heard, 1 << 30)  # sparse
    return write_alsa_config(folder, heard)


def write_alsa_config(folder: Path, heard: Path, name: str = "desk microphone") -> dict[str, str]:
    """As `write_microphone`, hearing any file or pipe of raw samples."""
    device = f'{{ type file slave.pcm "null" file "/dev/null" infile "{heard}" format "raw" }}'
    config = folder / "asound.conf"
    # PortAudio cannot live without a device called "default".
    config.write_text(f'pcm.null {{ type null }}\npcm."{name}" {device}\npcm.default {device}\n')
    return {"ALSA_CONFIG_PATH": str(config)}
