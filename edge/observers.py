"""What the daemon tells those who only watch (page, MQTT, metrics, terminal view): plain values, handed over at once.

An observer is called on the daemon's own thread, between two blocks of sound: it copies what it needs, returns within
microseconds, never waits and never raises. What cannot be delivered is the observer's to drop and to count.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from edge.events import Score

if TYPE_CHECKING:
    from edge.history import Event  # SQLite: the settings of the light need only `Phase`

log = logging.getLogger(__name__)


class Phase(str, Enum):
    """What the daemon is doing."""

    STARTING = "starting"
    LISTENING = "listening"
    MUTED = "muted"
    """Capture is stopped because somebody asked for it."""
    FAULT = "fault"
    """It cannot listen; `Health.reason` says why."""


@dataclass(frozen=True)
class Health:
    """How the daemon is. Counts are since its start; `n_lost` in samples at 16 kHz, `n_gaps` where they were lost."""

    phase: Phase
    reason: str
    """One sentence in a fault, empty otherwise."""
    node: str
    model: str
    microphone: str
    """What is listened to, in words; empty while there is nothing."""
    uptime_s: float
    n_blocks: int
    n_detections: int
    n_gaps: int
    n_lost: int
    capturing_s: float = 0.0
    """For how many seconds clips of speech are still kept (`edge.recorder`); 0 while none are."""
    light_fault: str = ""
    """One sentence while the light cannot be driven, empty otherwise."""


class Observer(Protocol):
    """Somebody who watches."""

    def on_level(self, level_db: float, speaking: bool) -> None:
        """After every block: level of its last frame in dB relative to full scale, and whether somebody speaks."""

    def on_score(self, score: Score) -> None:
        """In the middle of speech, several times a second."""

    def on_event(self, event: Event) -> None:
        """A finished stretch of speech, as the log keeps it."""

    def on_health(self, health: Health) -> None:
        """At once when the phase changes, otherwise about once a second."""

    def close(self) -> None:
        """The daemon ends."""


class Observers:
    """All who watch, told as one. One that raises has a bug: it is reported with its traceback, closed and dropped."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)

    def on_level(self, level_db: float, speaking: bool) -> None:
        """See `Observer`."""
        self._each(lambda observer: observer.on_level(level_db, speaking))

    def on_score(self, score: Score) -> None:
        """See `Observer`."""
        self._each(lambda observer: observer.on_score(score))

    def on_event(self, event: Event) -> None:
        """See `Observer`."""
        self._each(lambda observer: observer.on_event(event))

    def on_health(self, health: Health) -> None:
        """See `Observer`."""
        self._each(lambda observer: observer.on_health(health))

    def close(self) -> None:
        """See `Observer`; nobody is told anything after it."""
        while self._observers:
            self._close(self._observers.pop())

    def _each(self, tell: Callable[[Observer], None]) -> None:
        for observer in self._observers.copy():
            try:
                tell(observer)
            except Exception:
                log.exception("%s failed and is told nothing more; everything else goes on", _named(observer))
                self._observers.remove(observer)
                self._close(observer)

    def _close(self, observer: Observer) -> None:
        try:
            observer.close()
        except Exception:
            log.exception("%s could not be closed", _named(observer))


def _named(observer: Observer) -> str:
    return type(observer).__name__
