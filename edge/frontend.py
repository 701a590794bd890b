"""Samples to the feature vectors of speech: framing, gate and features, which training shares with the board."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.features import DeltaStage, FeatureConfig, FeatureExtractor
from edge.framing import Framer, OffsetRemover, level_db
from edge.gate import Edge, Gate, GateConfig

Float32 = NDArray[np.float32]

_AT_ONCE: Final = 64
"""Frames taken at a time, so that a long block needs no more memory than a short one."""
_LEVEL_MS: Final = 80
"""Frames wait for each other while nothing depends on them: four blocks of 20 ms then cost little more than one. No
longer than this, so that who watches the level sees it move."""


@dataclass(frozen=True)
class Segment:
    """Where a finished stretch of speech lies, in seconds from the first sample of the stream."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Chunk:
    """Feature vectors of the open segment, `(n, n_features)`.

    Every chunk of a segment but its last holds exactly `chunk_frames` rows. On the last, `is_last` is set and `segment`
    says where the segment was, or is None if it was too short to count and should be forgotten.
    """

    features: Float32
    end_s: float
    """End of the last frame in `features`, in seconds from the first sample of the stream."""
    is_last: bool
    segment: Segment | None


class FrontEnd:
    """Takes samples in blocks of any size and yields the feature vectors of what is speech.

    Features are computed for fixed groups of `chunk_frames` frames, whatever the blocks were: the answer is the same
    bit for bit for blocks of any size. Frames are looked at as soon as the gate could open or close or a chunk be full,
    never later; while neither can be, they wait for a few more.
    """

    def __init__(self, features: FeatureConfig, gate: GateConfig, chunk_frames: int) -> None:
        self.config = features
        self.chunk_frames = chunk_frames
        self._framer = Framer(features.window_length, features.hop_length)
        self._offset = OffsetRemover(features.hop_ms)
        self._gate = Gate(gate, features.hop_ms)
        self._extractor = FeatureExtractor(features)
        self._delta_columns = features.slices.get("mfcc_delta")
        # Frames that the gate may still reach back to (closed) or that wait for their chunk (open) lie between
        # `_begin` and `_end`. With room for some more, they are seldom moved.
        n_held = 4 * (self._gate.look_back + chunk_frames) + _AT_ONCE
        self._most_waiting = max(1, round(_LEVEL_MS / features.hop_ms))
        self._frames: Float32 = np.empty((n_held, features.window_length), np.float32)
        self.reset()

    def reset(self) -> None:
        """Start as on a new stream."""
        self._framer.reset()
        self._offset.reset()
        self._gate.reset()
        self._extractor.reset()
        self._n_frames = 0
        self._n_earlier = 0
        """Samples before the first of the `_n_frames` frames: those up to the last flush."""
        self.level_db = -100.0
        """Level of the last frame that was looked at, dB relative to full scale: 80 ms old at the most."""
        self._forget_segment()

    def _forget_segment(self) -> None:
        self._gate.close()
        self._begin = self._end = 0
        self._ready: Float32 = np.empty((0, self.config.n_features), np.float32)
        self._deltas = DeltaStage(self._delta_columns) if self._delta_columns is not None else None
        self._first_frame = 0
        self._n_given = 0
        self._n_needed = self._next_needed()

    @property
    def time_s(self) -> float:
        """End of the last frame, in seconds from the first sample of the stream; after a flush, of all samples."""
        n_frames = self._n_frames + self._framer.n_ready
        if n_frames == 0:
            return self._n_earlier / self.config.sample_rate_hz
        return self._frame_end_s(n_frames - 1)

    @property
    def speaking(self) -> bool:
        """Whether a segment is open."""
        return self._gate.is_open

    def push(self, samples: Float32) -> list[Chunk]:
        """Take samples `(n,)` at the configured rate; return what they complete."""
        frames = self._framer.push(samples, self._n_needed)
        if not len(frames):
            return []
        chunks: list[Chunk] = []
        for start in range(0, len(frames), _AT_ONCE):
            self._take(frames[start : start + _AT_ONCE], chunks)
        self._n_needed = self._next_needed()
        return chunks

    def _next_needed(self) -> int:
        """How many frames must be there before the next of them are looked at."""
        n = self._gate.n_without_edge + 1
        if self._gate.is_open:
            n = min(n, self.chunk_frames - (self._end - self._begin))
        return max(1, min(n, self._most_waiting))

    def _take(self, frames: Float32, chunks: list[Chunk]) -> None:
        """Take the next few frames, and append to `chunks` what they complete."""
        gate, held = self._gate, self._frames
        if self._end + len(frames) > len(held):
            n_held = self._end - self._begin
            held[:n_held] = held[self._begin : self._end].copy()
            self._begin, self._end = 0, n_held
        levels = level_db(*self._offset.push(frames, held[self._end : self._end + len(frames)])).tolist()
        for edge in gate.push(levels):
            self._end += 1
            self._n_frames += 1
            if edge is Edge.OPEN:
                n_before = min(gate.n_before, self._end - 1 - self._begin)
                self._first_frame = self._n_frames - 1 - n_before
                self._n_given = 0
                self._begin = self._end - 1 - n_before
            elif edge is Edge.CLOSE:
                chunks += self._full_chunks(held[self._begin : self._end], end_of_segment=True)
                chunks.append(self._last_chunk())
                # the next segment must not reach back into this one
                self._begin = self._end
            if gate.is_open and self._end - self._begin >= self.chunk_frames:
                chunks += self._full_chunks(held[self._begin : self._begin + self.chunk_frames])
                self._begin += self.chunk_frames
        if not gate.is_open:
            self._begin = max(self._begin, self._end - gate.look_back)
        self.level_db = levels[-1]

    def flush(self) -> list[Chunk]:
        """End of the stream or a gap in it: return the rest of an open segment and forget it. Statistics stay."""
        self._n_needed = 1
        chunks = self.push(np.empty(0, np.float32))  # what waited
        if self._gate.is_open:
            chunks += self._full_chunks(self._frames[self._begin : self._end], end_of_segment=True)
            chunks.append(self._last_chunk())
        # the next frame starts with the next sample, and the samples still waiting for a frame count as time, too
        self._n_earlier += self._n_frames * self.config.hop_length + self._framer.n_pending
        self._n_frames = 0
        self._framer.reset()
        self._forget_segment()
        return chunks

    def segments(self, samples: Float32) -> list[Float32]:
        """The features `(n_frames, n_features)` of each segment of a whole recording. Resets before and after."""
        self.reset()
        segments, parts = [], []
        for chunk in [*self.push(samples), *self.flush()]:
            parts.append(chunk.features)
            if chunk.is_last:
                if chunk.segment is not None:
                    segments.append(np.concatenate(parts))
                parts = []
        self.reset()
        return segments

    def _full_chunks(self, frames: Float32, end_of_segment: bool = False) -> Iterator[Chunk]:
        rows = self._extractor.compute(frames)
        if self._deltas is not None:
            rows = self._deltas.push(rows)
            if end_of_segment:
                rows = np.concatenate([rows, self._deltas.finish()])
        self._ready = np.concatenate([self._ready, rows]) if len(self._ready) else rows
        while len(self._ready) >= self.chunk_frames:
            chunk, self._ready = self._ready[: self.chunk_frames], self._ready[self.chunk_frames :]
            yield self._chunk(chunk)

    def _last_chunk(self) -> Chunk:
        gate = self._gate
        segment = None
        if gate.n_voiced >= gate.min_speech:
            last_frame = self._n_frames - 1 - gate.n_since_voiced
            segment = Segment(self._frame_start_s(self._first_frame), self._frame_end_s(last_frame))
        rows, self._ready = self._ready, self._ready[:0]
        return self._chunk(rows, is_last=True, segment=segment)

    def _chunk(self, rows: Float32, is_last: bool = False, segment: Segment | None = None) -> Chunk:
        self._n_given += len(rows)
        return Chunk(rows, self._frame_end_s(self._first_frame + self._n_given - 1), is_last, segment)

    def _frame_start_s(self, index: int) -> float:
        return (self._n_earlier + index * self.config.hop_length) / self.config.sample_rate_hz

    def _frame_end_s(self, index: int) -> float:
        n_samples = self._n_earlier + index * self.config.hop_length + self.config.window_length
        return n_samples / self.config.sample_rate_hz
