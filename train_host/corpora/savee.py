"""SAVEE: `DC/a01.wav` (speaker, then emotion and number), or flat `DC_a01.wav`. Four men."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from train_host.corpora.clip import Clip, LeftOut, Problem

NAME: Final = "savee"
EXAMPLE: Final = "DC/a01.wav"
_SPEAKERS: Final = ("DC", "JE", "JK", "KL")
_LABELS: Final = {
    "a": ("anger", "angry"),
    "d": ("disgust", "disgusted"),
    "f": ("fear", "fearful"),
    "h": ("happiness", "happy"),
    "n": ("neutral", "neutral"),
    "sa": ("sadness", "sad"),
    "su": ("surprise", "surprised"),
}
_NAME: Final = re.compile(rf"({'|'.join(_SPEAKERS)})_(({'|'.join(_LABELS)})\d\d)")


def _match(path: Path) -> re.Match[str] | None:
    return _NAME.fullmatch(path.stem) or _NAME.fullmatch(f"{path.parent.name}_{path.stem}")


def original_name(path: Path) -> str | None:
    """`DC_a01` for both layouts, None where the file is no part of SAVEE."""
    match = _match(path)
    return match[0] if match else None


def read(paths: Iterable[Path]) -> Iterator[Clip | LeftOut | Problem]:
    for path in paths:
        match = _match(path)
        assert match is not None, path
        label, emotion = _LABELS[match[3]]
        yield Clip(path, NAME, match[1], "male", "en", emotion, label, text=match[2])


def missing(names: set[str]) -> list[str]:
    """Names of a complete release that `names` lacks: fifteen sentences for each emotion, thirty neutral ones."""
    every = {
        f"{speaker}_{code}{number:02}"
        for speaker in _SPEAKERS
        for code in _LABELS
        for number in range(1, 31 if code == "n" else 16)
    }
    return sorted(every - names)
