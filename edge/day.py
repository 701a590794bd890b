"""A day as it was heard: the stretches of speech of the log, added up over equal parts of a local day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone

from edge.events import UNCERTAIN
from edge.history import Event, parse_since
from edge.labels import EMOTIONS

FELT = (*EMOTIONS, UNCERTAIN)
"""What a stretch of speech can have been, in the order of every table and picture of a day."""


@dataclass
class Part:
    """What was heard in a part of a day that begins at `start` (local time).

    `felt_s` maps each of `FELT` to seconds of speech. An activation counts as long as it was spoken with.
    """

    start: datetime
    n_stretches: int = 0
    felt_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(FELT, 0.0))
    _high_s: float = 0.0
    _activated_s: float = 0.0

    def add(self, event: Event) -> None:
        """Count one stretch of speech."""
        length_s = max(0.0, event.end_s - event.start_s)
        name = UNCERTAIN if event.uncertain or event.label not in EMOTIONS else event.label
        self.n_stretches += 1
        self.felt_s[name] += length_s
        if event.activation is not None:
            self._high_s += event.activation * length_s
            self._activated_s += length_s

    @property
    def spoken_s(self) -> float:
        """Seconds of speech."""
        return sum(self.felt_s.values())

    @property
    def activation(self) -> float | None:
        """The mean activation, 0 to 1; None where nobody spoke."""
        return self._high_s / self._activated_s if self._activated_s > 0 else None

    @property
    def most_felt(self) -> str | None:
        """The emotion that was there for the longest; None where none was sure."""
        best = max(EMOTIONS, key=lambda emotion: self.felt_s[emotion])
        return best if self.felt_s[best] > 0 else None


@dataclass(frozen=True)
class Day:
    """A local day in `parts` of equal length, one after the other, and the `whole` of it."""

    date: date
    part_minutes: int
    parts: tuple[Part, ...]
    whole: Part


def day_meant(text: str, now: datetime | None = None) -> date:
    """The local day in which the moment lies that is meant by `text`: "today", "yesterday", "2026-11-20", "3d" (ago).

    Raises:
        ConfigError: it is no time.
    """
    return parse_since(text, now).astimezone().date()


def bounds_of(day: date) -> tuple[datetime, datetime]:
    """The moments (UTC) at which a local day begins and ends: 24 hours apart, but for the two days of each year."""

    def midnight(day: date) -> datetime:
        return datetime(day.year, day.month, day.day).astimezone(timezone.utc)

    return midnight(day), midnight(day + timedelta(days=1))


def summarise(events: Iterable[Event], day: date, part_minutes: int = 60) -> Day:
    """Add up `events` over parts of a local day, whose hours divide into `part_minutes`; others are left out."""
    start, end = bounds_of(day)
    length = timedelta(minutes=part_minutes)
    n_parts = -((start - end) // length)
    parts = tuple(Part((start + i * length).astimezone()) for i in range(n_parts))
    whole = Part(start.astimezone())
    for event in events:
        # before Python 3.11 `fromisoformat` does not know "Z"
        moment = datetime.fromisoformat(event.ts.replace("Z", "+00:00"))
        if start <= moment < end:
            parts[(moment - start) // length].add(event)
            whole.add(event)
    return Day(day, part_minutes, parts, whole)


def in_words(seconds: float) -> str:
    """A length of time in at most 8 columns: "45 s", "12 min", "3 h 05"."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    n_minutes = round(seconds / 60)
    return f"{n_minutes} min" if n_minutes < 60 else f"{n_minutes // 60} h {n_minutes % 60:02d}"
