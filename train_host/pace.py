"""How much of a training's time goes into making batches: what a processor or GPU may have to wait for."""

from __future__ import annotations

import time

from train_host.batches import Batches


class TimedBatches(Batches):
    """The same batches, and `made_s`: the seconds that making them has taken so far.

    TensorFlow trains while a thread of its makes the next batch, JAX mostly, too; nothing waits for a batch longer than
    it takes to make. So `made_s` over the time that a training took is the most it can have waited.
    """

    made_s = 0.0

    def __getitem__(self, index: int):
        began_s = time.perf_counter()
        batch = super().__getitem__(index)
        self.made_s += time.perf_counter() - began_s
        return batch
