"""Where the daemon says what it hears: light, log and observers, none of which can stop the listening.

A light or a log that fails is reported once, tried again, and reported when it works again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from edge.clock import Clock
from edge.errors import HistoryError, LightError
from edge.events import Detection, Score
from edge.history import Event, History
from edge.leds import Lights
from edge.observers import Observer, Observers, Phase
from edge.trouble import Trouble

log = logging.getLogger(__name__)

REFLUSH_S: Final = 5.0
"""A log that could not be written is tried again this often."""


class Outlets:
    """Everything that is told. `model` is the name that events carry, `node` that of this device."""

    def __init__(
        self,
        *,
        lights: Lights,
        history: History | None,
        observers: Sequence[Observer],
        clock: Clock,
        node: str,
        model: str,
    ) -> None:
        self.observers = Observers(observers)
        self.n_detections = 0
        self.node = node
        self.model = model
        self._lights = lights
        self._history = history
        self._clock = clock
        self._light_trouble = Trouble("light")
        self._log_trouble = Trouble("log")
        self._next_flush_s = float("-inf")

    def change_lights(self, lights: Lights) -> None:
        """From now on these, whose predecessors have been closed; their troubles are their own."""
        if lights is not self._lights:
            self._lights = lights
            self._light_trouble = Trouble("light")

    def show_phase(self, phase: Phase) -> None:
        """From now on, the light says what the daemon is doing."""
        self._lights.show_status(phase)

    def take(self, events: Sequence[Score | Detection], arrival_s: Callable[[float], float | None]) -> None:
        """Show and keep what was heard; `arrival_s` says when a position in the sound arrived."""
        for event in events:
            if isinstance(event, Score):
                self._lights.show_score(event)
                self.observers.on_score(event)
            else:
                self._lights.show_detection(event)
                self._record(event, arrival_s(event.end_s))

    def show_capturing(self, on: bool) -> None:
        """From now on, the light says whether clips of speech are kept."""
        self._lights.show_capturing(on)

    @property
    def light_fault(self) -> str:
        """Why the light cannot be driven; empty while it can."""
        return self._light_trouble.words

    @property
    def can_show_capturing(self) -> bool:
        """Whether there is a light that says so, and works."""
        return self._lights.can_show_capturing and not self._light_trouble.is_on

    def tick(self) -> None:
        """To be called many times a second: the light moves on, the log is written now and then."""
        try:
            self._lights.tick(self._clock.monotonic())
        except LightError as error:
            self._light_trouble.begins(error)
        else:
            self._light_trouble.ends()
        self._tick_history()

    def check(self) -> None:
        """Find out whether the log can be written, before there is anything to be lost."""
        self._tick_history(at_once=True)

    def close(self) -> None:
        """Lights off, log written, observers told that it is over."""
        try:
            self._lights.close()
        except LightError as error:
            self._light_trouble.begins(error)
        if self._history is not None:
            try:
                self._history.close()
            except HistoryError as error:
                log.error("%s", error)
        self.observers.close()

    def _record(self, detection: Detection, spoken_s: float | None) -> None:
        self.n_detections += 1
        moment_s = self._clock.monotonic()
        event = Event.from_detection(
            detection,
            node=self.node,
            model=self.model,
            latency_ms=0.0 if spoken_s is None else round(1000 * (moment_s - spoken_s), 1),
            now=self._clock.now(),
            mono_s=moment_s,
        )
        log.debug(
            "%7.2f - %7.2f s  %-9s  %3.0f%%%s",
            event.start_s,
            event.end_s,
            event.label,
            100 * event.confidence,
            "  (uncertain)" if event.uncertain else "",
        )
        if self._history is not None:
            try:
                self._history.write(event)
            except HistoryError as error:
                self._log_trouble.begins(error)
        self.observers.on_event(event)

    def _tick_history(self, at_once: bool = False) -> None:
        if self._history is None:
            return
        try:
            if not (at_once or self._log_trouble.is_on):
                self._history.tick()
            elif self._clock.monotonic() >= self._next_flush_s:
                # a tick that does nothing and one that works again look the same: in trouble, only a flush will do
                self._next_flush_s = self._clock.monotonic() + REFLUSH_S
                self._history.flush()
                self._log_trouble.ends()
        except HistoryError as error:
            self._log_trouble.begins(error)
