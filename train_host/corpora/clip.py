"""What a corpus is made of: clips, what was left out of it on purpose, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.labels import EMOTIONS

UNKNOWN_SPEAKER: Final = "unknown"
"""Speaker of a clip that nobody attributed. Such clips stay on one side together: see `train_host.folds`."""

AUDIO_SUFFIXES: Final = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff"})
"""What libsndfile reads."""

FOREIGN_SUFFIXES: Final = frozenset({".m4a", ".aac", ".wma", ".webm", ".amr", ".3gp", ".caf"})
"""Recordings all the same, which libsndfile cannot read: named, not overlooked."""

_SYNONYMS: Final = {
    "neutral": "neutral neutrality neu",
    "calm": "calm calmness",
    "happy": "happy happiness joy joyful hap",
    "sad": "sad sadness",
    "angry": "angry anger ang",
    "fearful": "fearful fear afraid scared fea",
    "disgusted": "disgusted disgust dis",
    "surprised": "surprised surprise ps sur pleasant_surprise pleasant_surprised",
}
_EMOTION_OF: Final = {word: emotion for emotion, words in _SYNONYMS.items() for word in words.split()}


@dataclass(frozen=True)
class Clip:
    """One recording and what its corpus says of it.

    `speaker` is unique inside `corpus` only, `speaker_id` everywhere. `gender` is "female", "male" or None. `emotion`
    is one of `edge.labels.EMOTIONS`, `label` the corpus's own word for it. `text` tells what was said, as sentence or
    as the corpus's code for one. `seconds` is None where it is not known without opening the file.
    """

    path: Path
    corpus: str
    speaker: str
    gender: str | None
    language: str | None
    emotion: str
    label: str
    intensity: str | None = None
    text: str | None = None
    seconds: float | None = None

    @property
    def speaker_id(self) -> str:
        return f"{self.corpus}/{self.speaker}"


@dataclass(frozen=True)
class LeftOut:
    """A recording that is fine but not used. `published`: it is among those the corpus's published count counts."""

    path: Path
    reason: str
    published: bool


@dataclass(frozen=True)
class Problem:
    """Something wrong, by name: of what kind, with which file (or None: the corpus as a whole), in words."""

    kind: str
    path: Path | None
    text: str


@dataclass(frozen=True)
class Corpus:
    """The recordings of one corpus that were found under `root`; `name` is the short one that protocols use."""

    name: str
    root: Path
    clips: tuple[Clip, ...]
    left_out: tuple[LeftOut, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def n_published_found(self) -> int:
        """How many of the corpus's published recordings are here, used or not."""
        return len(self.clips) + sum(one.published for one in self.left_out)


def build(name: str, root: Path, items: Iterable[Clip | LeftOut | Problem]) -> Corpus:
    """Sorts what a reader made of its files into a `Corpus`."""
    everything = list(items)
    return Corpus(
        name,
        root,
        tuple(item for item in everything if isinstance(item, Clip)),
        tuple(item for item in everything if isinstance(item, LeftOut)),
        tuple(item for item in everything if isinstance(item, Problem)),
    )


def emotion_of(word: str) -> str | None:
    """One of `EMOTIONS` for an English word for it (`Anger`, `pleasant surprise`), None for any other word."""
    return _EMOTION_OF.get(word.strip().casefold().replace(" ", "_").replace("-", "_"))


def unknown_label(path: Path, label: str) -> Problem:
    return Problem("unknown label", path, f"{label!r} is none of {', '.join(EMOTIONS)}")
