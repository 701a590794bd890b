"""The loop: blocks from a source through the pipeline to light, log and whoever watches, for months.

One thread, one loop. Everything it touches is handed in, clock and request to stop included, so that all of it runs in
a test. A light or a log that fails is reported once and the loop goes on; a microphone that fails is opened again
until it works; anything unexpected ends the loop, and systemd starts a new one.

It is always in one of four phases (`edge.observers.Phase`), which light, service manager and observers are told:

    STARTING   until the first sound; for a microphone that gives nothing, until that is certain
    LISTENING  block after block gets through the pipeline
    MUTED      the source is closed, as somebody asked for
    FAULT      there is no microphone, or one that gives no sound; it is opened again and again
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from edge import notify
from edge.clock import Clock
from edge.errors import SourceError
from edge.events import Detection, Score
from edge.history import History
from edge.leds import Lights
from edge.listener import Listener
from edge.mute import Mute
from edge.observers import Health, Observer, Phase
from edge.outlets import Outlets
from edge.pipeline import Pipeline
from edge.recorder import Recorder
from edge.sources import SAMPLE_RATE_HZ, Block, Source
from edge.trouble import Trouble

log = logging.getLogger(__name__)

READ_S: Final = 0.25
"""How long one read waits for sound, and so how long a request to stop may go unseen."""
STALLED_S: Final = 3.0
"""A microphone that has delivered nothing for so long is opened anew."""
RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits between attempts to open a microphone; the last one repeats."""
STUCK_S: Final = (10.0, 30.0, 60.0, 300.0)
"""A microphone whose samples have all been the same for so long is opened anew; the last one repeats.

What grows is the time it is open, not the time it is closed: some microphones give zeros while a room is quiet, and
must be heard when it no longer is.
"""
STEADY_S: Final = 10.0
"""After so much sound a microphone works, and the next time it fails counts as the first."""
REPORT_S: Final = 60.0
"""Lost samples are reported at most this often."""
WATCHDOG_S: Final = 1.0
"""The service manager hears that all is well at most this often."""
HEALTH_S: Final = 1.0
"""Observers hear how the daemon is this often."""
_REST_S: Final = 0.05  # a light that is to be seen moves on so often while there is no sound


@dataclass
class Totals:
    """What the loop has seen so far. `n_lost` counts samples at 16 kHz, `n_gaps` the places where they were lost."""

    n_blocks: int = 0
    n_detections: int = 0
    n_gaps: int = 0
    n_lost: int = 0


@dataclass(frozen=True)
class Successors:
    """What goes on from now: another pipeline, fresh, with the name of its model, or None for the same; the lights (the
    same, or others whose predecessors have been closed); and when to end for want of speech."""

    pipeline: Pipeline | None
    model: str
    lights: Lights
    stop_after_silence_s: float


class Daemon:
    """Wires a source to light, log and observers; `run` is the loop.

    Args:
        open_source: opens the microphone or recording; called again after each `SourceError`, and after each mute.
        pipeline: what listens; it must be fresh. `model` is the name its events carry, `node` that of this device.
        history: the log, or None for none.
        stop: ends the loop, within `READ_S` or one block.
        stop_after_silence_s: the loop ends by itself after so much sound without speech; 0 = never.
        observers: who watches. They are closed at the end.
        mute: the switch that closes the source; None where there is none.
        reload: asked between blocks, and must answer at once: what is to go on in place of what does, or None. What it
            takes to get that ready delays the sound, of which the source keeps some seconds.
        recorder: makes clips of speech while somebody wants it and the light shows it; None where nobody can.

    What `start_s` and `end_s` of events count from is said in `edge.listener`. `latency_ms` runs from the arrival of
    the block that holds the end of the speech until the event exists; so it contains the silence that the gate waits
    for.
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
        observers: Sequence[Observer] = (),
        mute: Mute | None = None,
        reload: Callable[[], Successors | None] = lambda: None,
        recorder: Recorder | None = None,
    ) -> None:
        self.totals = Totals()
        self._open_source = open_source
        self._listener = Listener(pipeline)
        watching = observers if recorder is None else [*observers, recorder]
        self._outlets = Outlets(lights=lights, history=history, observers=watching, clock=clock, node=node, model=model)
        self._clock = clock
        self._stop = stop
        self._stop_after_silence_s = stop_after_silence_s
        self._mute = mute
        self._reload = reload
        self._recorder = recorder
        self._phase = Phase.STARTING
        self._reason = ""
        self._microphone = ""
        self._source_trouble = Trouble("microphone")
        self._started_s = clock.monotonic()
        self._is_ready = False
        self._fed_s = float("-inf")
        self._told_s = float("-inf")
        self._n_failures = 0  # of the source, since it last worked for a while
        self._n_unreported = 0  # lost samples
        self._reported_s = float("-inf")

    def run(self) -> Totals:
        """Loop until `stop` is set, the recording is over, or it has been silent for long enough.

        Raises:
            AudioError: the recording cannot be read.
            BundleError: the model answers with nonsense.
        """
        try:
            self._outlets.check()
            self._enter(Phase.STARTING)
            while not self._stop.is_set():
                if self._is_muted():
                    self._be_muted()
                    continue
                try:
                    is_over = self._hear()
                except SourceError as error:
                    self._fail(error)
                    self._wait_after(error)
                else:
                    if is_over:
                        break
                    self._part()
            self._take(self._listener.finish())
        finally:
            self._close()
        return self.totals

    def _is_muted(self) -> bool:
        return self._mute is not None and self._mute.is_on

    # --- the phases

    def _hear(self) -> bool:
        """Open the source, `_listen`, and close it.

        Raises:
            SourceError: it cannot be opened, or gives no sound (any more).
        """
        with self._open_source() as source:
            try:
                return self._listen(source)
            except SourceError as error:
                self._fail(error)  # not only once it is closed: a driver may take its time with what has gone
                self._tick()
                raise

    def _listen(self, source: Source) -> bool:
        """Handle block after block; False when the source is to be closed as somebody asked for it, True at the end.

        Raises:
            SourceError: the source gives no sound (any more).
        """
        opened_s = arrived_s = self._clock.monotonic()
        is_heard = False
        while not self._stop.is_set():
            if self._is_muted():
                self._end_capture()  # before the open stretch of speech could become a clip
                return False
            try:
                block = source.read(READ_S)
            except SourceError:
                if self._clock.monotonic() - arrived_s >= STALLED_S:
                    raise
                self._tick()
                self._stop.wait(_REST_S)  # a microphone that has gone says so without waiting
                continue
            if block is None:
                for warning in source.warnings:
                    log.warning("%s", warning)
                return True
            arrived_s = self._clock.monotonic()
            patience_s = STUCK_S[min(self._n_failures, len(STUCK_S) - 1)]
            if source.stuck_s >= patience_s:
                raise _StuckError(
                    f"the microphone '{source.name}' gives no sound, only one and the same value all the time; is it "
                    "switched off or muted at a switch of its own, or its cable broken?"
                )
            if not is_heard:
                if source.stuck_s > 0:
                    self._overhear(block)
                    continue
                is_heard = True
                opened_s = arrived_s
                self._begin_source(source)
            if arrived_s - opened_s >= STEADY_S:
                self._n_failures = 0
            self._handle(block, arrived_s)
            # Here, and not by a clock of its own: a loop that gets no sound through is not well.
            self._be_ready()
            self._feed()
            if 0 < self._stop_after_silence_s <= self._listener.silence_s:
                log.info("no speech for %g s: the end", self._stop_after_silence_s)
                return True
        return True

    def _begin_source(self, source: Source) -> None:
        self._source_trouble.ends()
        self._microphone = source.name
        self._enter(Phase.LISTENING)
        log.info("listening to %s", source.name)

    def _overhear(self, block: Block) -> None:
        """A source that was just opened gives nothing but one value: that is no sound to get used to.

        Some need a moment. One that goes on so is a fault before the service manager loses patience; one that was a
        fault before remains it, and so is waited for.
        """
        self._listener.skip(block)
        if self._phase is Phase.FAULT:
            self._feed()
        self._tick()

    def _fail(self, error: SourceError) -> None:
        """Keep what was heard, and say what is wrong. Harmless when repeated."""
        self._part()
        self._source_trouble.begins(error, "it is tried again until it works", way=str(error))
        self._enter(Phase.FAULT, str(error))

    def _wait_after(self, error: SourceError) -> None:
        """Wait a little before the next attempt."""
        wait_s = RETRY_S[0] if isinstance(error, _StuckError) else RETRY_S[min(self._n_failures, len(RETRY_S) - 1)]
        end_s = self._clock.monotonic() + wait_s
        self._n_failures += 1
        while not self._stop.is_set() and not self._is_muted() and self._clock.monotonic() < end_s:
            self._rest()

    def _be_muted(self) -> None:
        """The source is closed; wait until it may be opened."""
        assert self._mute is not None
        log.info("muted: nothing is captured until `tonelight unmute` (%s)", self._mute.path)
        self._end_capture()
        self._enter(Phase.MUTED)
        while not self._stop.is_set() and self._is_muted():
            self._rest()
        if not self._stop.is_set():
            log.info("no longer muted")
            self._n_failures = 0
            self._enter(Phase.STARTING)

    def _rest(self) -> None:
        """A moment without a source, in a phase in which there is none.

        The service manager hears that all is well, as this loop is alive and has said what it waits for: to be killed
        would bring back neither a microphone nor the will to be heard. What hangs within the driver, when a source is
        opened, read or closed, does not come here, and does end in a new start.
        """
        self._be_ready()
        self._feed()
        self._tick()
        self._stop.wait(_REST_S)

    def _part(self) -> None:
        """The source is closed: nothing that follows belongs to what was heard so far."""
        self._take(self._listener.finish())
        self._listener.renew()
        self._microphone = ""

    def _enter(self, phase: Phase, reason: str = "") -> None:
        is_same = (phase, reason) == (self._phase, self._reason)
        self._phase, self._reason = phase, reason
        self._outlets.show_phase(phase)
        said = {Phase.LISTENING: f"listening to {self._microphone}", Phase.FAULT: reason}
        notify.status(said.get(phase, phase.value))
        if not is_same or phase is Phase.STARTING:
            self._tell_health()

    def _be_ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            notify.ready()

    def _feed(self) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._fed_s >= WATCHDOG_S:
            self._fed_s = now_s
            notify.watchdog()

    # --- sound

    def _handle(self, block: Block, arrived_s: float) -> None:
        if block.lost:
            self._report_loss(block.lost)
            self._take(self._listener.finish())  # while the sound before the gap is still at hand for a clip
        events = self._listener.push(block, arrived_s)
        if self._recorder is not None:
            self._recorder.hear(block.samples, round(self._listener.time_s * SAMPLE_RATE_HZ))
        self._take(events)
        self.totals.n_blocks += 1
        self._outlets.observers.on_level(self._listener.level_db, self._listener.speaking)
        self._tick()

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

    def _take(self, events: Sequence[Score | Detection]) -> None:
        self._outlets.take(events, self._listener.arrival_s)
        self.totals.n_detections = self._outlets.n_detections

    # --- what happens all the time

    def _tick(self) -> None:
        now_s = self._clock.monotonic()
        if (successors := self._reload()) is not None:
            self._hand_over(successors)
        self._follow_capture()
        if now_s - self._told_s >= HEALTH_S:
            self._tell_health()
        self._outlets.tick()

    def _follow_capture(self) -> None:
        """Whether clips are kept is shown before the first sound of one is taken, and told at once."""
        if self._recorder is None:
            return
        was_on = self._recorder.left_s > 0
        self._recorder.look(self._clock.monotonic(), self._outlets.can_show_capturing)
        self._outlets.show_capturing(self._recorder.left_s > 0)
        if (self._recorder.left_s > 0) != was_on:
            self._tell_health()

    def _end_capture(self) -> None:
        if self._recorder is not None:
            self._recorder.end()

    def _hand_over(self, successors: Successors) -> None:
        if successors.pipeline is not None:
            self._take(self._listener.finish())
            self._listener.renew(successors.pipeline)
        self._outlets.model = successors.model
        self._outlets.change_lights(successors.lights)
        self._outlets.show_phase(self._phase)
        self._stop_after_silence_s = successors.stop_after_silence_s
        self._tell_health()

    def _tell_health(self) -> None:
        self._told_s = self._clock.monotonic()
        self._outlets.observers.on_health(
            Health(
                phase=self._phase,
                reason=self._reason,
                node=self._outlets.node,
                model=self._outlets.model,
                microphone=self._microphone,
                uptime_s=round(self._told_s - self._started_s, 3),
                n_blocks=self.totals.n_blocks,
                n_detections=self._outlets.n_detections,
                n_gaps=self.totals.n_gaps,
                n_lost=self.totals.n_lost,
                capturing_s=0.0 if self._recorder is None else round(self._recorder.left_s, 1),
                light_fault=self._outlets.light_fault,
            )
        )

    def _close(self) -> None:
        notify.stopping()
        self._outlets.close()
        totals = self.totals
        lost = f", {totals.n_lost} samples lost in {totals.n_gaps} gaps" if totals.n_gaps else ""
        log.info("heard %.1f s of sound, %d stretches of speech%s", self._listener.time_s, totals.n_detections, lost)


class _StuckError(SourceError):
    """A microphone delivers, and it is no sound."""
