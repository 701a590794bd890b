"""Corpora listed in a `manifest.csv`: one row for each recording, several corpora in one table.

Columns: `path` (relative to the manifest) and `emotion` are required. Used where present: `dataset` (else the name of
the folder), `speaker` (else unknown), `gender` (female, male or empty), `language`, `emotion8` (one of the eight
emotions, for labels that are no English word for one), `intensity`, `sentence`, `seconds`. A row that cannot be used is
a problem by line and name; the others stay.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge.labels import EMOTIONS
from train_host.corpora.clip import UNKNOWN_SPEAKER, Clip, Corpus, Problem, build, emotion_of, unknown_label
from train_host.corpora.known import KNOWN, short_name
from train_host.errors import CorpusError

FILE: Final = "manifest.csv"
_REQUIRED: Final = ("path", "emotion")


def rows(table: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by column, stripped; a missing cell is empty.

    Raises CorpusError where the file is no UTF-8 table or lacks one of the `required` columns.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{table}: cannot be read as UTF-8 text ({error}); save it as UTF-8") from None
    if "\0" in text:
        raise CorpusError(f"{table}: holds zero bytes, so it is no CSV table; save it as CSV in UTF-8")
    reader = csv.DictReader(io.StringIO(text), restkey="", restval="", strict=True)
    try:
        lacking = [column for column in required if column not in (reader.fieldnames or ())]
        if lacking:
            raise CorpusError(
                f"{table}: has no column {' and no column '.join(map(repr, lacking))}; its first line must name the "
                f"columns, among them {', '.join(required)}"
            )
        for row in reader:
            yield reader.line_num, {column: cell.strip() for column, cell in row.items() if column}
    except csv.Error as error:
        # the inner reader's count: the outer one counts only rows that it could hand out
        raise CorpusError(f"{table}, line {reader.reader.line_num}: {error}; mend the quotes of that line") from None


def read(table: Path) -> list[Corpus]:
    """The corpora of a manifest, in the order of their first rows. Raises CorpusError where it cannot be read."""
    items: dict[str, list[Clip | Problem]] = {}
    seen: dict[str, int] = {}
    for line, row in rows(table, _REQUIRED):
        name = short_name(row.get("dataset", "") or table.parent.resolve().name)
        items.setdefault(name, []).append(_item(table, line, row, name, seen))
    return [build(name, table.parent, found) for name, found in items.items()]


def _item(table: Path, line: int, row: dict[str, str], name: str, seen: dict[str, int]) -> Clip | Problem:
    def bad(text: str) -> Problem:
        return Problem("bad row", path, f"{table.name}, line {line}: {text}")

    path = table.parent / row["path"]
    if not row["path"]:
        path = table
        return bad("no path")
    if row["path"] in seen:
        return bad(f"listed already in line {seen[row['path']]}")
    seen[row["path"]] = line
    gender, seconds = row.get("gender", ""), _seconds(row.get("seconds", ""))
    if gender not in ("female", "male", ""):
        return bad(f"gender {gender!r} is none of female, male or empty")
    if seconds is not None and not 0 < seconds < math.inf:
        return bad(f"seconds {row['seconds']!r} is no positive number")
    emotion8 = row.get("emotion8", "")
    emotion = emotion8 if emotion8 in EMOTIONS else None if emotion8 else emotion_of(row["emotion"])
    if emotion is None:
        return unknown_label(path, emotion8 or row["emotion"])
    known = KNOWN.get(name)
    return Clip(
        path,
        name,
        speaker=row.get("speaker", "") or UNKNOWN_SPEAKER,
        gender=gender or None,
        language=row.get("language", "") or (known.language if known else None),
        emotion=emotion,
        label=row["emotion"],
        intensity=row.get("intensity", "") or None,
        text=row.get("sentence", "") or None,
        seconds=seconds,
    )


def _seconds(text: str) -> float | None:
    """None for an empty cell, NaN (which no comparison lets through) for one that is no number."""
    try:
        return float(text) if text else None
    except ValueError:
        return math.nan
