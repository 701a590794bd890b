"""What every source delivers, and how samples at any rate become blocks at 16 kHz."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

SAMPLE_RATE_HZ: Final = 16_000

Samples = NDArray[np.float32]

_BELOW_ONE: Final = np.nextafter(np.float32(1), np.float32(0))  # keeps the interval of samples half open


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive samples, shape (n,) with n >= 1, float32 in [-1, 1).

    n is the length asked for, or less where the stretch ends (the end of the recording, or samples lost). `lost` is
    how many samples are missing between the block before and this one: nothing may be computed across that point.
    """

    samples: Samples
    lost: int = 0


class Source(Protocol):
    """Anything blocks can be read from; a context manager that closes itself."""

    @property
    def name(self) -> str:
        """What to call it in a log."""

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the sound so far, one line each; complete when `read` has returned None."""

    @property
    def n_overruns(self) -> int:
        """How often samples were lost because nobody read them in time."""

    @property
    def n_lost(self) -> int:
        """Samples lost so far, at the source's own rate."""

    @property
    def stuck_s(self) -> float:
        """For how long, up to the last block, all samples have been one and the same value: a microphone that gives
        nothing. 0 for a recording, which may be silent."""

    def read(self, timeout_s: float) -> Block | None:
        """The next block, or None at the end. SourceError: nothing came for `timeout_s`. AudioError: unreadable."""

    def close(self) -> None:
        """Stop; harmless when repeated."""

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Blocks:
    """Turns mono samples at any rate into blocks: resamples, and cuts what comes out into equal lengths."""

    def __init__(self, rate_hz: int, block_ms: int) -> None:
        if block_ms < 1:
            raise ValueError(f"block_ms must be at least 1, got {block_ms}")
        self.n_out = 0  # samples handed out, plus lost ones
        self._length = SAMPLE_RATE_HZ * block_ms // 1000
        self._rate_hz = rate_hz
        self._n_in = 0  # samples taken in, plus lost ones
        self._done: deque[Block] = deque()
        self._start()

    def _start(self) -> None:
        self._resampler = soxr.ResampleStream(self._rate_hz, SAMPLE_RATE_HZ, 1)
        self._rest: Samples = np.zeros(0, np.float32)
        self._lost = 0  # before the first sample of the rest

    def push(self, mono: Samples, *, last: bool = False) -> None:
        """Take in samples, shape (n,). `last` says that the stretch ends here, and empties the resampler."""
        self._n_in += len(mono)
        out = mono if self._rate_hz == SAMPLE_RATE_HZ else self._resampler.resample_chunk(mono, last=last)
        out = np.clip(out, -1.0, _BELOW_ONE)  # full scale can overshoot when filtered
        self._rest = np.concatenate([self._rest, out])
        start = 0
        while len(self._rest) - start >= self._length or (last and start < len(self._rest)):
            samples = self._rest[start : start + self._length]
            start += len(samples)
            self._done.append(Block(samples, self._lost))
            self.n_out += len(samples)
            self._lost = 0
        self._rest = self._rest[start:].copy()

    def lose(self, n: int) -> None:
        """End the stretch: `n` samples at the source's rate are missing here. The resampler starts afresh."""
        self.push(np.zeros(0, np.float32), last=True)
        unreported = self._lost
        self._start()
        self._n_in += n
        # Counted from the start of the stream, so that rounding never adds up over months.
        missing = max(1, round(self._n_in * SAMPLE_RATE_HZ / self._rate_hz) - self.n_out)
        self.n_out += missing
        self._lost = unreported + missing

    def pop(self) -> Block | None:
        return self._done.popleft() if self._done else None


class Stillness:
    """Measures for how long sound has been none: the same number again and again, in each channel."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._n = 0
        self._last: list[float] | None = None

    @property
    def seconds(self) -> float:
        """How long it has lasted; 0 when the last piece held two different numbers."""
        return self._n / self._rate_hz

    def push(self, rows: Samples) -> None:
        """Take the next samples, shape (n, n_channels) with n >= 1."""
        last = rows[-1].tolist()
        # where there is sound, nearly always the last row already differs, and the others need not be looked at
        same = (self._last is None or last == self._last) and bool((rows == rows[-1]).all())
        self._n = self._n + len(rows) if same else 0
        self._last = last
