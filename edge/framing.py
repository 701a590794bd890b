"""Samples to overlapping analysis frames, whatever the size of the blocks they arrive in."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_N_HELD: Final = 8
"""Windows' worth of samples that a framer has room for: enough for those that wait and some blocks more."""


class Framer:
    """Cuts a stream of samples into frames of `window_length` samples, one every `hop_length` samples.

    Frame `i` of a stream holds the samples `[i * hop_length, i * hop_length + window_length)`, bit for bit the same for
    any block size. No padding at either end: a frame exists once its last sample has arrived.
    """

    def __init__(self, window_length: int, hop_length: int) -> None:
        if not 0 < hop_length <= window_length:
            raise ValueError(f"need 0 < hop_length <= window_length, got {hop_length} and {window_length}")
        self.window_length = window_length
        self.hop_length = hop_length
        self._none: Float32 = np.empty((0, window_length), np.float32)
        # Samples that wait lie between `_begin` and `_end`. With room for some more, they are seldom moved.
        self._held: Float32 = np.empty(_N_HELD * window_length, np.float32)
        self._begin = self._end = 0

    def push(self, samples: Float32, at_least: int = 1) -> Float32:
        """Take any number of samples, shape `(n,)`; return the frames they complete, shape `(n_frames, window_length)`.

        Fewer than `at_least` frames are none: they wait for the next call. The frames are a read-only view, maybe of
        `samples` itself: copy them to keep them beyond the next call, or beyond a change of `samples`.
        """
        if samples.ndim != 1:
            raise ValueError(f"samples must be mono, shape (n,), got {samples.shape}")
        end = self._end + len(samples)
        n_frames = (end - self._begin - self.window_length) // self.hop_length + 1
        is_enough = n_frames >= at_least and n_frames > 0
        if end > len(self._held):
            if is_enough and len(samples) > len(self._held):
                return self._push_recording(samples, n_frames)
            end = self._make_room(len(samples))
        # copied: whoever gave them may write into them again
        self._held[self._end : end] = samples
        self._end = end
        if not is_enough:
            return self._none
        begin = self._begin
        self._begin += n_frames * self.hop_length
        return self._frames(self._held, begin, n_frames)

    def _make_room(self, n: int) -> int:
        """Move the samples that wait to the front, so that `n` more fit behind them; return where those will end."""
        waiting = self._held[self._begin : self._end].copy()
        end = len(waiting) + n
        if end > len(self._held):
            self._held = np.empty(2 * end, np.float32)
        self._held[: len(waiting)] = waiting
        self._begin, self._end = 0, len(waiting)
        return end

    def _push_recording(self, samples: Float32, n_frames: int) -> Float32:
        """As `push`, for more samples than there is room for: they are not copied, unless others wait for them."""
        if self.n_pending:
            samples = np.concatenate([self._held[self._begin : self._end], samples])
        samples = np.ascontiguousarray(samples, np.float32)
        rest = samples[n_frames * self.hop_length :]
        self._held[: len(rest)] = rest
        self._begin, self._end = 0, len(rest)
        return self._frames(samples, 0, n_frames)

    def _frames(self, samples: Float32, begin: int, n_frames: int) -> Float32:
        # an array over the same memory; `sliding_window_view` says the same in twenty times the time
        step = samples.itemsize
        frames: Float32 = np.ndarray(
            (n_frames, self.window_length), np.float32, samples, begin * step, (self.hop_length * step, step)
        )
        frames.flags.writeable = False
        return frames

    @property
    def n_pending(self) -> int:
        """Samples held from the start of the next frame on."""
        return self._end - self._begin

    @property
    def n_ready(self) -> int:
        """Frames that are complete and wait."""
        return max(0, (self.n_pending - self.window_length) // self.hop_length + 1)

    def reset(self) -> None:
        """Forget the samples that wait."""
        self._begin = self._end = 0


class OffsetRemover:
    """Takes the offset that cheap microphones and some recordings have out of frames, as a running mean over a second.

    One number is taken from all samples of a frame, so that nothing inside a frame is bent. Frame after frame, so that
    the answer does not depend on how many come at a time.
    """

    def __init__(self, hop_ms: float) -> None:
        self._memory = max(1.0, 1000 / hop_ms)
        self.reset()

    def reset(self) -> None:
        """Start as on a new stream: the first frame's mean is all that is known."""
        self._offset = 0.0
        self._n = 0.0  # frames that it is the mean of, `_memory` at the most

    def push(self, frames: Float32, out: Float32 | None = None) -> tuple[Float32, Float32]:
        """Take consecutive frames `(n_frames, window_length)`; return them without the offset, in `out` if given, and
        the mean that is left of each, shape `(n_frames,)`."""
        offsets = []
        offset, n, memory = self._offset, self._n, self._memory
        left = means(frames)
        for mean in left.tolist():
            if n < memory:
                n = min(n + 1, memory)
            offset += (mean - offset) / n
            offsets.append(offset)
        self._offset, self._n = offset, n
        taken = np.array(offsets, np.float32)
        left -= taken
        return np.subtract(frames, taken[:, None], out=out), left


def means(frames: Float32) -> Float32:
    """Mean of each frame, shape `(n_frames,)`; what `frames.mean(axis=1)` says, without what that costs for a row."""
    total: Float32 = np.einsum("ij->i", frames)
    total /= np.float32(frames.shape[1])
    return total


def level_db(frames: Float32, mean: Float32) -> Float32:
    """Level of each frame in dB relative to full scale, shape `(n_frames,)`; DC is ignored, digital silence is -100.

    `mean` is that of each frame, which whoever took the offset out knows.
    """
    power = powers(frames)
    power -= mean * mean
    np.maximum(power, np.float32(1e-10), out=power)
    np.log10(power, out=power)
    power *= np.float32(10)
    return power


def powers(frames: Float32) -> Float32:
    """Mean square of each frame, shape `(n_frames,)`."""
    total: Float32 = np.einsum("ij,ij->i", frames, frames)
    total /= np.float32(frames.shape[1])
    return total
