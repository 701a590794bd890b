"""Samples to overlapping analysis frames, whatever the size of the blocks they arrive in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


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
        self._pending: list[Float32] = []
        self.n_pending = 0
        """Samples held from the start of the next frame on."""

    def push(self, samples: Float32, at_least: int = 1) -> Float32:
        """Take any number of samples, shape `(n,)`; return the frames they complete, shape `(n_frames, window_length)`.

        Fewer than `at_least` frames are none: they wait for the next call. The frames are a read-only view, maybe of
        `samples` itself: copy them to keep them beyond the next call, or beyond a change of `samples`.
        """
        if samples.ndim != 1:
            raise ValueError(f"samples must be mono, shape (n,), got {samples.shape}")
        self.n_pending += len(samples)
        n_frames = self.n_ready
        if n_frames < at_least:
            # copied: whoever gave them may write into them again
            self._pending.append(np.array(samples, np.float32))
            return self._none
        if self._pending:
            pending = np.concatenate([*self._pending, samples], dtype=np.float32, casting="same_kind")
        else:  # a whole recording need not be copied
            pending = np.ascontiguousarray(samples, np.float32)
        # the remainder is copied, so that a long block is not kept alive by a few samples of it
        self._pending = [pending[n_frames * self.hop_length :].copy()]
        self.n_pending = len(self._pending[0])
        # an array over the same memory; `sliding_window_view` says the same in twenty times the time
        step = pending.itemsize
        frames: Float32 = np.ndarray(
            (n_frames, self.window_length), np.float32, pending, 0, (self.hop_length * step, step)
        )
        frames.flags.writeable = False
        return frames

    @property
    def n_ready(self) -> int:
        """Frames that are complete and wait."""
        return max(0, (self.n_pending - self.window_length) // self.hop_length + 1)

    def reset(self) -> None:
        """Forget the samples waiting for the rest of their frame."""
        self._pending = []
        self.n_pending = 0


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

    def push(self, frames: Float32, out: Float32 | None = None) -> Float32:
        """Take consecutive frames `(n_frames, window_length)`; return them without the offset, in `out` if given."""
        offsets = []
        offset, n, memory = self._offset, self._n, self._memory
        for mean in means(frames).tolist():
            n = min(n + 1, memory)
            offset += (mean - offset) / n
            offsets.append(offset)
        self._offset, self._n = offset, n
        return np.subtract(frames, np.array(offsets, np.float32)[:, None], out=out)


def means(frames: Float32) -> Float32:
    """Mean of each frame, shape `(n_frames,)`; what `frames.mean(axis=1)` says, without what that costs for a row."""
    total: Float32 = np.einsum("ij->i", frames)
    total /= np.float32(frames.shape[1])
    return total


def level_db(frames: Float32) -> Float32:
    """Level of each frame in dB relative to full scale, shape `(n_frames,)`; DC is ignored, digital silence is -100."""
    mean = means(frames)
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
