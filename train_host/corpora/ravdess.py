"""RAVDESS: `Actor_NN/03-01-EE-II-SS-RR-AA.wav` (modality, channel, emotion, intensity, statement, repetition, actor).

Speech in audio only, that is modality 03 and channel 01. Songs and films' sound are left out by name: a singer's melody
is given, and five of the emotions sung are not the eight spoken. Odd actors are men, even ones women.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from train_host.corpora.clip import Clip, LeftOut, Problem, unknown_label

NAME: Final = "ravdess"
EXAMPLE: Final = "Actor_07/03-01-05-01-02-01-07.wav"
_STEM: Final = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_EMOTIONS: Final = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgusted",
    "08": "surprised",
}
_INTENSITIES: Final = {"01": "normal", "02": "strong"}
_TEXTS: Final = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}


def original_name(path: Path) -> str | None:
    """The name that identifies the recording in the original release, None where the file is no part of it."""
    return path.stem if _STEM.fullmatch(path.stem) else None


def read(paths: Iterable[Path]) -> Iterator[Clip | LeftOut | Problem]:
    for path in paths:
        modality, channel, emotion, intensity, statement, _, actor = path.stem.split("-")
        if channel == "02":
            yield LeftOut(path, "song", published=False)
        elif modality != "03" or channel != "01":
            yield LeftOut(path, f"modality {modality}, channel {channel}: not speech in audio only", published=False)
        elif emotion not in _EMOTIONS:
            yield unknown_label(path, emotion)
        else:
            yield Clip(
                path,
                NAME,
                speaker=actor,
                gender="male" if int(actor) % 2 else "female",
                language="en",
                emotion=_EMOTIONS[emotion],
                label=emotion,
                intensity=_INTENSITIES.get(intensity),
                text=_TEXTS.get(statement, statement),
            )


def missing(names: set[str]) -> list[str]:
    """Original names that a complete release has and `names` lacks; neutral has no strong intensity."""
    every = {
        f"03-01-{emotion}-{intensity}-{statement}-{repetition}-{actor:02}"
        for emotion, intensity, statement, repetition, actor in itertools.product(
            _EMOTIONS, _INTENSITIES, _TEXTS, ("01", "02"), range(1, 25)
        )
        if (emotion, intensity) != ("01", "02")
    }
    return sorted(every - names)
