"""IEMOCAP: `SessionN/sentences/wav/<dialog>/<utterance>.wav`, labelled in `SessionN/dialog/EmoEvaluation/<dialog>.txt`.

Excited counts as happy, as is usual with this corpus. Frustrated, other and those without a majority (`xxx`) are none
of the eight emotions and are left out by name. A session has one woman and one man; the letter before the number of
the utterance says who speaks, the one after the session who wore the markers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from train_host.corpora.clip import Clip, LeftOut, Problem, unknown_label
from train_host.errors import CorpusError

NAME: Final = "iemocap"
EXAMPLE: Final = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
_EMOTIONS: Final = {
    "neu": "neutral",
    "hap": "happy",
    "exc": "happy",
    "sad": "sad",
    "ang": "angry",
    "fea": "fearful",
    "dis": "disgusted",
    "sur": "surprised",
}
_LEFT_OUT: Final = {"fru": "frustrated", "oth": "other", "xxx": "no majority among the labellers"}
_STEM: Final = re.compile(r"Ses0(\d)[FM]_((?:impro|script)\w+)_([FM])\d{3}")
# [start - end] <tab> utterance <tab> label <tab> [valence, activation, dominance]
_LINE: Final = re.compile(r"\[[\d.]+ - [\d.]+\]\t(\S+)\t(\S+)\t\[")


def original_name(path: Path) -> str | None:
    return path.stem if _STEM.fullmatch(path.stem) else None


def read(paths: Iterable[Path]) -> Iterator[Clip | LeftOut | Problem]:
    labels: dict[Path, dict[str, str]] = {}
    for path in paths:
        match = _STEM.fullmatch(path.stem)
        assert match is not None, path
        session, scene, gender = match.groups()
        table = _evaluation(path)
        if table is None:
            yield Problem("unknown label", path, f"dialog/EmoEvaluation/{path.parent.name}.txt is not there")
            continue
        if table not in labels:
            labels[table] = _labels(table)
        label = labels[table].get(path.stem)
        if label is None:
            yield Problem("unknown label", path, f"{table} does not name it")
        elif label in _LEFT_OUT:
            yield LeftOut(path, _LEFT_OUT[label], published=True)
        elif label not in _EMOTIONS:
            yield unknown_label(path, label)
        else:
            yield Clip(
                path,
                NAME,
                speaker=f"Ses0{session}{gender}",
                gender="female" if gender == "F" else "male",
                language="en",
                emotion=_EMOTIONS[label],
                label=label,
                text=scene,
            )


def _evaluation(path: Path) -> Path | None:
    for folder in path.parents:
        table = folder / "dialog" / "EmoEvaluation" / f"{path.parent.name}.txt"
        if table.is_file():
            return table
        if folder.name.startswith("Session"):
            break
    return None


def _labels(table: Path) -> dict[str, str]:
    try:
        found = _LINE.findall(table.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise CorpusError(f"{table}: not a text file; unpack IEMOCAP again") from None
    return dict(found)
