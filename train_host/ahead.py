"""Batches made ahead, so that a processor or GPU need not wait for them; and how long it did."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Final

import keras

from train_host.batches import Batches

N_THREADS: Final = max(1, min(8, (os.cpu_count() or 1) // 2))
"""Threads, because numpy lets the others go on. The other half of the processors is for a network without a GPU."""


class BatchesAhead(keras.utils.PyDataset, AbstractContextManager):
    """The batches of `n_steps` steps, the same for the same step; threads make the next ones while the network trains.

    Item `i` is step `first_step + i` of those `begin` has named last. `waited_s` are the seconds so far in which a
    batch was asked for that was not ready: the network waited no longer, for TensorFlow asks a little ahead. To be used
    in a `with` block, whose end ends the threads.
    """

    def __init__(self, batches: Batches, n_steps: int, n_threads: int = N_THREADS) -> None:
        super().__init__()
        self.waited_s = 0.0
        self._batches, self._n_steps = batches, n_steps
        self._n_ahead = 2 * n_threads
        self._threads = ThreadPoolExecutor(n_threads, "batches")
        self._made: dict[int, Future[Any]] = {}
        self.begin(0, n_steps)

    def begin(self, first_step: int, n_steps: int) -> None:
        """What follows are these `n_steps` steps."""
        self._first_step, self._n_round = first_step, n_steps

    def __exit__(self, *exception: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __len__(self) -> int:
        return self._n_round

    def __getitem__(self, index: int):
        step = self._first_step + index
        # one more is kept on either side: Keras looks at the first two before it begins with the first
        for gone in [one for one in self._made if not step - 1 <= one <= step + self._n_ahead + 1]:
            self._made.pop(gone).cancel()
        for wanted in range(step, min(step + self._n_ahead, self._n_steps - 1) + 1):
            if wanted not in self._made:
                self._made[wanted] = self._threads.submit(self._batches.__getitem__, wanted)
        began_s = time.perf_counter()
        batch = self._made[step].result()
        self.waited_s += time.perf_counter() - began_s
        return batch
