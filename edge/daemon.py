"""The loop: blocks from a source through the pipeline to light and log, for months.

One thread, one loop. Everything it touches is handed in, clock and request to stop included, so that all of it runs in
a test. A light or a log that fails is reported once and the loop goes on; a microphone that fails is opened again
until it works; anything unexpected ends the loop, and systemd starts a new one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final, Protocol

from edge import notify
from edge.errors import HistoryError, LightError, SourceError, TonelightError
from edge.events import Detection, Score
from edge.history import Event, History
from edge.leds import Lights
from edge.pipeline import Pipeline
from edge.sources import SAMPLE_RATE_HZ, Block, Source

log = logging.getLogger(__name__)

READ_S: Final = 0.25
"""How long one read waits for sound, and so how long a request to stop may go unseen."""
STALLED_S: Final = 3.0
"""A microphone that has delivered nothing for so long is opened anew."""
RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits between attempts to open a microphone; the last one repeats."""
REPORT_S: Final = 60.0
"""Lost samples are reported at most this often."""
REFLUSH_S: Final = 5.0
"""A log that could not be written is tried again this often."""
WATCHDOG_S: Final = 1.0
"""The service manager hears that blocks get through at most this often."""
_RECENT_S: Final = 10.0  # longer than the gate waits after the last voiced frame


class Clock(Protocol):
    """What time it is."""

    def monotonic(self) -> float:
        """Seconds on a clock that only runs forward."""

    def now(self) -> datetime:
        """The time of day, in UTC."""


class SystemClock:
    """The machine's own."""

    def monotonic(self) -> float:
        """Seconds since some moment before the start."""
        return time.monotonic()

    def now(self) -> datetime:
        """UTC; right only once the clock has been set from the network."""
        return datetime.now(timezone.utc)


@dataclass
class Totals:
    """What the loop has seen so far. `n_lost` counts samples at 16 kHz, `n_gaps` the places where they were lost."""

    n_blocks: int = 0
    n_detections: int = 0
    n_gaps: int = 0
    n_lost: int = 0


class Daemon:
    """Wires a source to light and log; `run` is the loop.

    Args:
        open_source: opens the microphone or recording; called again after each `SourceError`.
        pipeline: what listens; it must be fresh. `model` is the name its events carry, `node` that of this device.
        history: the log, or None for none.
        stop: ends the loop, within `READ_S` or one block.
        stop_after_silence_s: the loop ends by itself after so much sound without speech; 0 = never.

    `start_s` and `end_s` of its events count the samples of the source, lost ones included, from the first one on; the
    time during which a microphone was away does not count. `latency_ms` runs from the arrival of the block that holds
    the end of the speech until the event exists; so it contains the silence that the gate waits for.
    """

    def __init__(
        self,
        *,
        open_source: Callable[[], Source],
        pipeline: Pipeline,
        lights: Lights,
        history: History | None,
        clock: Clock,
        stop: threading.Event,
        node: str,
        model: str,
        stop_after_silence_s: float = 0.0,
    ) -> None:
        self.totals = Totals()
        self._open_source = open_source
        self._pipeline = pipeline
        self._lights = lights
        self._history = history
        self._clock = clock
        self._stop = stop
        self._node = node
        self._model = model
        self._stop_after_silence_s = stop_after_silence_s
        self._source_trouble = _Trouble("microphone")
        self._light_trouble = _Trouble("light")
        self._log_trouble = _Trouble("log")
        self._is_ready = False
        self._fed_s = float("-inf")
        self._next_flush_s = float("-inf")
        self._n_failures = 0  # of the source, since its last block
        self._n_samples = 0  # received and lost
        self._offset_s = 0.0  # from the pipeline's time to the source's
        self._arrivals: deque[tuple[float, float]] = deque()  # (end of a block in the source's time, its arrival)
        self._n_unreported = 0  # lost samples
        self._reported_s = float("-inf")

    def run(self) -> Totals:
        """Loop until `stop` is set, the recording is over, or it has been silent for long enough.

        Raises:
            AudioError: the recording cannot be read.
            BundleError: the model answers with nonsense.
        """
        try:
            self._tick_history(at_once=True)
            while not self._stop.is_set():
                try:
                    with self._open_source() as source:
                        self._listen(source)
                except SourceError as error:
                    self._lose_source(error)
                else:
                    break
            self._finish_segment()
        finally:
            self._close()
        return self.totals

    def _listen(self, source: Source) -> None:
        """Handle block after block, until there is a reason to end the loop."""
        is_first = True
        arrived_s = self._clock.monotonic()
        while not self._stop.is_set():
            try:
                block = source.read(READ_S)
            except SourceError:
                if self._clock.monotonic() - arrived_s >= STALLED_S:
                    raise
                self._tick()
                self._stop.wait(READ_S / 5)  # a microphone that has gone says so without waiting
                continue
            if block is None:
                for warning in source.warnings:
                    log.warning("%s", warning)
                return
            arrived_s = self._clock.monotonic()
            if is_first:
                is_first = False
                self._begin_source(source)
            self._handle(block, arrived_s)
            if not self._is_ready:
                self._is_ready = True
                notify.ready()
            if arrived_s - self._fed_s >= WATCHDOG_S:
                self._fed_s = arrived_s
                notify.watchdog()  # only here: a loop that gets no sound through is not well
            if 0 < self._stop_after_silence_s <= self._pipeline.silence_s:
                log.info("no speech for %g s: the end", self._stop_after_silence_s)
                return

    def _begin_source(self, source: Source) -> None:
        self._n_failures = 0
        self._source_trouble.ends()
        self._lights.show_idle()
        notify.status(f"listening to {source.name}")
        log.info("listening to %s", source.name)

    def _lose_source(self, error: SourceError) -> None:
        """Keep what was heard, say what is wrong, and wait a little before the next attempt."""
        self._finish_segment()
        self._pipeline.reset()  # whatever is opened next may be another microphone
        self._synchronize()
        # A light that still signalled "listening" would be wrong.
        self._lights.show_off()
        self._source_trouble.begins(error, "it is tried again until it is there")
        notify.status(str(error))
        end_s = self._clock.monotonic() + RETRY_S[min(self._n_failures, len(RETRY_S) - 1)]
        self._n_failures += 1
        while self._clock.monotonic() < end_s and not self._stop.is_set():
            self._tick()
            self._stop.wait(READ_S / 5)

    def _handle(self, block: Block, arrived_s: float) -> None:
        if block.lost:
            self._finish_segment()
            self._n_samples += block.lost
            self._synchronize()
            self._report_loss(block.lost)
        self._n_samples += len(block.samples)
        end_s = self._n_samples / SAMPLE_RATE_HZ
        self._arrivals.append((end_s, arrived_s))
        while self._arrivals[0][0] < end_s - _RECENT_S:
            self._arrivals.popleft()
        self._take(self._pipeline.push(block.samples))
        self.totals.n_blocks += 1
        self._tick()

    def _finish_segment(self) -> None:
        """Nothing that follows belongs to what was heard so far: close the open segment."""
        self._take(self._pipeline.flush())

    def _synchronize(self) -> None:
        """After a gap: the next sample the pipeline takes is sample `_n_samples` of the source."""
        self._offset_s = self._n_samples / SAMPLE_RATE_HZ - self._pipeline.time_s

    def _take(self, events: Sequence[Score | Detection]) -> None:
        for event in events:
            if isinstance(event, Score):
                self._lights.show_score(event)
            else:
                self._lights.show_detection(event)
                self._record(event)

    def _record(self, detection: Detection) -> None:
        self.totals.n_detections += 1
        start_s = max(0.0, detection.start_s + self._offset_s)
        end_s = detection.end_s + self._offset_s
        moment_s = self._clock.monotonic()
        spoken_s = next((arrived_s for position_s, arrived_s in self._arrivals if position_s >= end_s), moment_s)
        event = Event.from_detection(
            Detection(start_s, end_s, detection.label, detection.confidence, detection.probs, detection.uncertain),
            node=self._node,
            model=self._model,
            latency_ms=round(1000 * (moment_s - spoken_s), 1),
            now=self._clock.now(),
            mono_s=moment_s,
        )
        log.debug(
            "%7.2f - %7.2f s  %-9s  %3.0f%%%s",
            start_s,
            end_s,
            event.label,
            100 * event.confidence,
            "  (uncertain)" if event.uncertain else "",
        )
        if self._history is not None:
            try:
                self._history.write(event)
            except HistoryError as error:
                self._log_trouble.begins(error)

    def _report_loss(self, n_lost: int) -> None:
        self.totals.n_gaps += 1
        self.totals.n_lost += n_lost
        self._n_unreported += n_lost
        now_s = self._clock.monotonic()
        if now_s - self._reported_s >= REPORT_S:
            log.warning(
                "%.2f s of sound were lost (%d gaps since the start): this machine is too busy, or the microphone's "
                "connection is bad",
                self._n_unreported / SAMPLE_RATE_HZ,
                self.totals.n_gaps,
            )
            self._n_unreported = 0
            self._reported_s = now_s

    def _tick(self) -> None:
        try:
            self._lights.tick(self._clock.monotonic())
        except LightError as error:
            self._light_trouble.begins(error)
        else:
            self._light_trouble.ends()
        self._tick_history()

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

    def _close(self) -> None:
        notify.stopping()
        try:
            self._lights.close()
        except LightError as error:
            self._light_trouble.begins(error)
        if self._history is not None:
            try:
                self._history.close()
            except HistoryError as error:
                log.error("%s", error)
        totals = self.totals
        lost = f", {totals.n_lost} samples lost in {totals.n_gaps} gaps" if totals.n_gaps else ""
        log.info(
            "heard %.1f s of sound, %d stretches of speech%s",
            self._n_samples / SAMPLE_RATE_HZ,
            totals.n_detections,
            lost,
        )


class _Trouble:
    """Says when something begins to fail and when it works again, and nothing in between."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.is_on = False

    def begins(self, error: TonelightError, then: str = "everything else goes on") -> None:
        if not self.is_on:
            log.error("%s (%s)", error, then)
        self.is_on = True

    def ends(self) -> None:
        if self.is_on:
            log.info("the %s works again", self._what)
        self.is_on = False
