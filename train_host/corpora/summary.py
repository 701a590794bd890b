"""What the corpora hold, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import soundfile
from rich.table import Table

from edge.labels import EMOTIONS
from train_host.corpora.clip import UNKNOWN_SPEAKER, Corpus
from train_host.corpora.known import KNOWN


@dataclass(frozen=True)
class Summary:
    """One corpus in figures. `hours` is None where a recording's length cannot be read: `verify` says which."""

    name: str
    title: str
    n_clips: int
    n_women: int
    n_men: int
    n_speakers: int
    n_without_speaker: int
    hours: float | None
    n_by_emotion: dict[str, int]
    languages: tuple[str, ...]
    licence: str
    n_published_found: int
    n_published: int | None


def summarize(corpora: Iterable[Corpus]) -> list[Summary]:
    """The figures of each corpus; opens (without decoding) the recordings whose length is not known yet."""
    return [_summarize(corpus) for corpus in corpora]


def _summarize(corpus: Corpus) -> Summary:
    clips = corpus.clips
    speakers = {clip.speaker: clip.gender for clip in clips if clip.speaker != UNKNOWN_SPEAKER}
    lengths = [clip.seconds if clip.seconds is not None else _seconds(clip.path) for clip in clips]
    counts = Counter(clip.emotion for clip in clips)
    known = KNOWN.get(corpus.name)
    return Summary(
        name=corpus.name,
        title=known.title if known else corpus.name,
        n_clips=len(clips),
        n_women=sum(gender == "female" for gender in speakers.values()),
        n_men=sum(gender == "male" for gender in speakers.values()),
        n_speakers=len(speakers),
        n_without_speaker=sum(clip.speaker == UNKNOWN_SPEAKER for clip in clips),
        hours=None if None in lengths else sum(length for length in lengths if length is not None) / 3600,
        n_by_emotion={emotion: counts[emotion] for emotion in EMOTIONS},
        languages=tuple(sorted({clip.language for clip in clips if clip.language})),
        licence=known.licence if known else "not stated",
        n_published_found=corpus.n_published_found,
        n_published=known.n_published if known else None,
    )


def _seconds(path: Path) -> float | None:
    try:
        return float(soundfile.info(path).duration)
    except (OSError, RuntimeError):
        return None


def tables(summaries: Iterable[Summary]) -> list[Table]:
    """Two tables for the terminal: who speaks, how long, on what terms; and how many clips of each emotion.

    Sums below, where there are several corpora.
    """
    # no rules between the columns: the eight emotions then fit into the 80 characters of a plain terminal
    who = Table("corpus", "clips", "speakers", "hours", "lang", "complete", "licence", box=None, padding=(0, 1, 0, 0))
    what = Table("clips", *EMOTIONS, box=None, padding=(0, 1, 0, 0))
    summaries = list(summaries)
    for one in summaries:
        who.add_row(
            one.title,
            str(one.n_clips),
            _speakers(one),
            "?" if one.hours is None else f"{one.hours:.2f}",
            " ".join(one.languages) or "?",
            f"{one.n_published_found} of {one.n_published}" if one.n_published else "",
            one.licence,
        )
        what.add_row(one.name, *(str(count or "") for count in one.n_by_emotion.values()))
    if len(summaries) > 1:
        hours = [one.hours for one in summaries]
        for table in (who, what):
            table.add_section()
        who.add_row(
            "all",
            str(sum(one.n_clips for one in summaries)),
            str(sum(one.n_speakers for one in summaries)),
            "?" if None in hours else f"{sum(one for one in hours if one is not None):.2f}",
            *("", "", ""),
        )
        what.add_row("all", *(str(sum(one.n_by_emotion[emotion] for one in summaries) or "") for emotion in EMOTIONS))
    for column in (*who.columns[1:4], *what.columns[1:]):
        column.justify = "right"
    for column in who.columns[:-1]:
        column.no_wrap = True
    return [who, what]


def _speakers(one: Summary) -> str:
    n_other = one.n_speakers - one.n_women - one.n_men
    parts = [f"{n} {who}" for n, who in ((one.n_women, "f"), (one.n_men, "m"), (n_other, "?")) if n]
    if one.n_without_speaker:
        parts.append(f"{one.n_without_speaker} clips of unknown")
    return ", ".join(parts)
