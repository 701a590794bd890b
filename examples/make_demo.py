"""Render the demo recording, `edge/data/demo.flac`: what `tonelight run --source auto` hears without a microphone.

A room with a little noise in it, and one synthetic voice after the other: calm, excited, sad, angry, frightened,
neutral, with pauses between them. The words are ours and the voices are espeak-ng's (sudo apt install espeak-ng), so
the recording may be passed on with the program. It shows that everything works; it does not show how good the
recognition is, for nobody feels anything in it.

    python examples/make_demo.py [FILE]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16000
DEMO = Path(__file__).resolve().parents[1] / "edge" / "data" / "demo.flac"
NOISE_DB = -58.0
"""Level of the room's noise (root mean square, 0 dB is full scale), under everything from start to end."""


@dataclass(frozen=True)
class Phrase:
    """One thing said. `pitch` is espeak-ng's, 0 to 99; `melody` is SSML's pitch range."""

    voice: str
    pitch: int
    words_per_minute: int
    melody: str
    level_db: float
    pause_before_s: float
    text: str


PHRASES = (
    Phrase("en-gb+m3", 38, 130, "low", -27, 1.2, "The kettle is on. There is no hurry at all."),
    Phrase("en-us+f2", 78, 195, "x-high", -23, 1.3, "You made it! Oh, that is wonderful news!"),
    Phrase("en-gb+f4", 22, 105, "x-low", -31, 1.2, "I thought we had more time."),
    Phrase("en-us+m7", 30, 205, "high", -21, 1.4, "No! I told you twice! Put it down, right now!"),
    Phrase("en-gb+f5", 92, 185, "high", -25, 1.0, "What was that? Somebody is at the window."),
    Phrase("en-us+m1", 50, 160, "medium", -25, 1.2, "The train to the coast leaves at ten past four."),
)
PAUSE_AFTER_S = 1.5
"""Long enough for the last phrase to be recognised as finished."""


def render() -> NDArray[np.float32]:
    """Return the whole recording, shape `(n_samples,)`, mono at 16 kHz; the same at each call."""
    parts: list[NDArray[np.float32]] = []
    for phrase in PHRASES:
        parts += [silence(phrase.pause_before_s), at_level(say(phrase), phrase.level_db)]
    speech = np.concatenate([*parts, silence(PAUSE_AFTER_S)])
    return speech + at_level(room_noise(speech.size), NOISE_DB)


def say(phrase: Phrase) -> NDArray[np.float32]:
    """Return one phrase as spoken by espeak-ng, shape `(n_samples,)`, without the silence at its ends."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "phrase.wav"
        voice = ["-v", phrase.voice, "-p", str(phrase.pitch), "-s", str(phrase.words_per_minute)]
        ssml = f'<speak><prosody range="{phrase.melody}">{phrase.text}</prosody></speak>'
        subprocess.run(["espeak-ng", *voice, "-m", "-w", wav, ssml], check=True)
        spoken, rate_hz = soundfile.read(wav, dtype="float32")
    samples: NDArray[np.float32] = soxr.resample(spoken, rate_hz, SAMPLE_RATE_HZ)
    loud = np.flatnonzero(np.abs(samples) > 0.002)
    return samples[loud[0] : loud[-1] + 1]


def room_noise(n_samples: int) -> NDArray[np.float32]:
    """Return pink noise from 40 Hz up, shape `(n_samples,)`: about what a quiet room sounds like to a microphone."""
    white = np.random.default_rng(20).standard_normal(n_samples)
    frequencies_hz = np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE_HZ)
    pink = np.fft.rfft(white) / np.sqrt(np.maximum(frequencies_hz, 40.0))
    return np.fft.irfft(pink, n_samples).astype(np.float32)


def silence(duration_s: float) -> NDArray[np.float32]:
    return np.zeros(round(duration_s * SAMPLE_RATE_HZ), np.float32)


def at_level(samples: NDArray[np.float32], level_db: float) -> NDArray[np.float32]:
    """Return the samples scaled so that their root mean square is `level_db` below full scale."""
    return samples * np.float32(10 ** (level_db / 20) / np.sqrt(np.mean(samples**2)))


def espeak_version() -> str:
    """Return the name and version of the synthesizer, as kept in the recording's comment."""
    return subprocess.run(["espeak-ng", "--version"], check=True, capture_output=True, text=True).stdout.split("  ")[0]


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO
    try:
        recording = render()
        comment = espeak_version()
    except FileNotFoundError:
        print("make_demo: espeak-ng is missing; sudo apt install espeak-ng", file=sys.stderr)
        return 1
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, "PCM_16") as file:
        file.comment = comment
        file.write(recording)
    print(f"{path}: {recording.size / SAMPLE_RATE_HZ:.1f} s, {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
