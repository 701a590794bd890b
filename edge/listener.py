"""From blocks to what was heard, in the time of the source: samples lost and sources changed included."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from edge.events import Detection, Score
from edge.pipeline import Pipeline
from edge.sources import SAMPLE_RATE_HZ, Block

_RECENT_S: Final = 10.0  # longer than the gate waits after the last voiced frame


class Listener:
    """A pipeline that knows where in the sound it is.

    `start_s` and `end_s` of what it returns count the samples of the source, lost ones included, from the first one
    on; the time during which a microphone was away does not count.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._n_samples = 0  # received and lost
        self._offset_s = 0.0  # from the pipeline's time to the source's
        self._arrivals: deque[tuple[float, float]] = deque()  # (end of a block in the source's time, its arrival)

    @property
    def time_s(self) -> float:
        """How much sound there was so far."""
        return self._n_samples / SAMPLE_RATE_HZ

    @property
    def level_db(self) -> float:
        """Level of the last frame, dB relative to full scale."""
        return self._pipeline.level_db

    @property
    def speaking(self) -> bool:
        """Whether a stretch of speech is open."""
        return self._pipeline.speaking

    @property
    def silence_s(self) -> float:
        """Seconds of sound since the last speech; 0 while somebody speaks."""
        return self._pipeline.silence_s

    def push(self, block: Block, arrived_s: float) -> list[Score | Detection]:
        """Take a block that arrived at `arrived_s`; return what it completes. Lost samples close the open segment."""
        events: list[Score | Detection] = []
        if block.lost:
            events = self.finish()
            self._n_samples += block.lost
            self._synchronize()
        self._n_samples += len(block.samples)
        self._arrivals.append((self.time_s, arrived_s))
        while self._arrivals[0][0] < self.time_s - _RECENT_S:
            self._arrivals.popleft()
        return events + self._placed(self._pipeline.push(block.samples))

    def skip(self, block: Block) -> None:
        """Let a block pass that is none to be listened to."""
        self._n_samples += block.lost + len(block.samples)
        self._synchronize()

    def finish(self) -> list[Score | Detection]:
        """Nothing that follows belongs to what was heard so far: close the open segment."""
        return self._placed(self._pipeline.flush())

    def renew(self, pipeline: Pipeline | None = None) -> None:
        """Start as on a new stream, after `finish`: another microphone may follow, or `pipeline` take over."""
        self._pipeline = pipeline or self._pipeline
        self._pipeline.reset()
        self._synchronize()

    def arrival_s(self, position_s: float) -> float | None:
        """When the block arrived that holds `position_s`; None where that is too long ago."""
        return next((arrived_s for end_s, arrived_s in self._arrivals if end_s >= position_s), None)

    def _synchronize(self) -> None:
        """The next sample the pipeline takes is sample `_n_samples` of the source."""
        self._offset_s = self.time_s - self._pipeline.time_s

    def _placed(self, events: Sequence[Score | Detection]) -> list[Score | Detection]:
        return [
            event
            if isinstance(event, Score)
            else replace(event, start_s=max(0.0, event.start_s + self._offset_s), end_s=event.end_s + self._offset_s)
            for event in events
        ]
