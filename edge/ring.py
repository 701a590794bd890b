"""The bounded queue between the audio callback and the loop.

One thread writes (PortAudio's callback), one reads. The store is allocated once. Nothing is overwritten, and nothing is
spliced in silence: when the ring is full, new samples are dropped and counted, and the reader is told at that very
point how many are missing, so that the segment before it can be closed.

A row is one sample of each channel. Averaging and resampling belong to the reader: the callback must only copy.
"""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
from numpy.typing import NDArray


class Ring:
    """Holds up to `capacity` rows of `n_channels` float32 samples.

    `n_overruns` counts how often the ring ran full, `n_lost` the rows lost, both since the start.
    """

    def __init__(self, capacity: int, n_channels: int = 1) -> None:
        if capacity < 1 or n_channels < 1:
            raise ValueError(f"a ring holds at least one row and one channel, not {capacity} and {n_channels}")
        self.n_overruns = 0
        self.n_lost = 0
        self._rows: NDArray[np.float32] = np.zeros((capacity, n_channels), np.float32)
        # Guards everything below. The writer holds it for one copy, the reader only to look at the counters.
        self._changed = threading.Condition()
        self._n_written = 0  # rows ever stored
        self._n_read = 0  # rows ever taken out
        self._gaps: deque[list[int]] = deque()  # [position in rows, rows lost there]; no more than stored rows and one
        self._lost_before = 0  # gaps the reader has reached, not yet handed over with the rows that follow
        self._dropping = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """True once no more rows will be written; those still stored can be read."""
        return self._closed

    def write(self, rows: NDArray[np.float32], *, broken: bool = False) -> None:
        """Store `rows`, shape (n, n_channels), or as many of the first as fit.

        `broken` says that the driver lost an unknown number of rows just before these; it counts as one.

        Once rows had to be dropped, all that follow are dropped until the reader has emptied the ring: one long gap
        between two whole stretches, not a shred of sound for each row that becomes free.
        """
        with self._changed:
            if broken:
                self._lose(1)
            capacity = len(self._rows)
            n_free = 0 if self._dropping else capacity - (self._n_written - self._n_read)
            n_kept = min(len(rows), n_free)
            start = self._n_written % capacity
            n_first = min(n_kept, capacity - start)
            self._rows[start : start + n_first] = rows[:n_first]
            self._rows[: n_kept - n_first] = rows[n_first:n_kept]
            self._n_written += n_kept
            if n_kept < len(rows):
                if not self._dropping:
                    self._dropping = True
                    self.n_overruns += 1
                self._lose(len(rows) - n_kept)
            self._changed.notify()

    def close(self) -> None:
        """Say that no more rows will come; wakes the reader."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def read(self, n_max: int, timeout_s: float) -> tuple[NDArray[np.float32], int] | None:
        """Take out up to `n_max` rows, waiting up to `timeout_s` for the first one.

        Returns the rows, shape (n, n_channels) with n >= 1, without a gap between them, and how many rows were lost
        just before them. None: nothing came in that time, or the ring is closed and empty (`closed` tells which).
        """
        with self._changed:
            self._changed.wait_for(lambda: self._n_ready() > 0 or self._closed, timeout_s)
            n = min(n_max, self._n_ready())
            if n == 0:
                return None
            lost, self._lost_before = self._lost_before, 0
        # Without the lock: the writer never touches rows that have not been read.
        start = self._n_read % len(self._rows)
        n_first = min(n, len(self._rows) - start)
        rows = np.concatenate([self._rows[start : start + n_first], self._rows[: n - n_first]])
        with self._changed:
            self._n_read += n
            self._n_ready()  # an emptied ring takes rows again from now on, not from the next read
        return rows, lost

    def _lose(self, n: int) -> None:
        self.n_lost += n
        if self._gaps and self._gaps[-1][0] == self._n_written:
            self._gaps[-1][1] += n
        else:
            self._gaps.append([self._n_written, n])

    def _n_ready(self) -> int:
        """Rows up to the next gap. One that the reader has come to is taken down; with the last, the dropping ends."""
        while self._gaps and self._gaps[0][0] == self._n_read:
            self._lost_before += self._gaps.popleft()[1]
        # While rows are dropped the last gap lies at the end of what is stored: it is reached when the ring is empty.
        self._dropping = self._dropping and bool(self._gaps)
        return (self._gaps[0][0] if self._gaps else self._n_written) - self._n_read
