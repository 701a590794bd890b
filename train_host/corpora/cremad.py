"""CREMA-D: `AudioWAV/1001_DFA_ANG_XX.wav` (actor, sentence, intended emotion, intensity).

Two recordings that its authors call faulty are left out by name. Gender comes from `VideoDemographics.csv` beside
`AudioWAV` or in it; without that table it is not known.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from train_host.corpora.clip import Clip, LeftOut, Problem
from train_host.errors import CorpusError

NAME: Final = "cremad"
EXAMPLE: Final = "AudioWAV/1001_DFA_ANG_XX.wav"
_LABELS: Final = {
    "ANG": "angry",
    "DIS": "disgusted",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_INTENSITIES: Final = {"LO": "low", "MD": "medium", "HI": "high"}  # XX, once misspelt X: not specified
_STEM: Final = re.compile(rf"(1\d\d\d)_([A-Z]{{3}})_({'|'.join(_LABELS)})_(XX?|LO|MD|HI)")

_FAULTY: Final = {
    "1076_MTI_SAD_XX": "holds no sound, as its authors say",
    "1064_IEO_DIS_MD": "holds all emotions, as its authors say",
}


def original_name(path: Path) -> str | None:
    return path.stem if _STEM.fullmatch(path.stem) else None


def read(paths: Iterable[Path]) -> Iterator[Clip | LeftOut | Problem]:
    genders: dict[Path, dict[str, str]] = {}
    for path in paths:
        if path.stem in _FAULTY:
            yield LeftOut(path, _FAULTY[path.stem], published=True)
            continue
        folder = path.parent
        if folder not in genders:
            genders[folder] = _genders(folder)
        match = _STEM.fullmatch(path.stem)
        assert match is not None, path
        actor, sentence, label, intensity = match.groups()
        yield Clip(
            path,
            NAME,
            speaker=actor,
            gender=genders[folder].get(actor),
            language="en",
            emotion=_LABELS[label],
            label=label,
            intensity=_INTENSITIES.get(intensity),
            text=sentence,
        )


def _genders(folder: Path) -> dict[str, str]:
    for table in (folder / "VideoDemographics.csv", folder.parent / "VideoDemographics.csv"):
        if table.is_file():
            try:
                with table.open(encoding="utf-8-sig", newline="") as lines:
                    rows = [(row["ActorID"].strip(), row["Sex"].strip().lower()) for row in csv.DictReader(lines)]
            except (KeyError, AttributeError, UnicodeDecodeError, csv.Error):
                raise CorpusError(
                    f"{table}: not CREMA-D's table with the columns ActorID and Sex; restore it"
                ) from None
            return {actor: sex for actor, sex in rows if sex in ("female", "male")}
    return {}
