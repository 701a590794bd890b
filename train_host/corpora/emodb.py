"""EMO-DB (Berlin): `wav/03a01Fa.wav` (speaker, text, the German emotion's letter, version).

Boredom is none of the eight emotions; its clips are left out by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from train_host.corpora.clip import Clip, LeftOut, Problem

NAME: Final = "emodb"
EXAMPLE: Final = "wav/03a01Fa.wav"
_WOMEN: Final = frozenset({"08", "09", "13", "14", "16"})
_MEN: Final = frozenset({"03", "10", "11", "12", "15"})
_BOREDOM: Final = "L"
_LABELS: Final = {
    "W": ("Ärger", "angry"),
    "E": ("Ekel", "disgusted"),
    "A": ("Angst", "fearful"),
    "F": ("Freude", "happy"),
    "T": ("Trauer", "sad"),
    "N": ("neutral", "neutral"),
}
_STEM: Final = re.compile(rf"({'|'.join(sorted(_WOMEN | _MEN))})([ab]\d\d)([{''.join(_LABELS)}{_BOREDOM}])([a-z])")


def original_name(path: Path) -> str | None:
    return path.stem if _STEM.fullmatch(path.stem) else None


def read(paths: Iterable[Path]) -> Iterator[Clip | LeftOut | Problem]:
    for path in paths:
        match = _STEM.fullmatch(path.stem)
        assert match is not None, path
        speaker, text, letter, _ = match.groups()
        if letter == _BOREDOM:
            yield LeftOut(path, "boredom", published=True)
            continue
        label, emotion = _LABELS[letter]
        yield Clip(path, NAME, speaker, "female" if speaker in _WOMEN else "male", "de", emotion, label, text=text)
