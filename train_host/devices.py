"""One training on all GPUs of a machine: each computes its part of every batch, by Keras' own distribution."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import keras


def shared_batches(batch_size: int) -> AbstractContextManager:
    """What a network is made and trained inside of, as often as wanted, so that batches are shared among devices.

    Takes as many of the visible devices as divide `batch_size`; does nothing where that is one, or where the backend
    is not JAX, the only one whose distribution Keras has finished. What is computed is the same, to within rounding.
    """
    devices = keras.distribution.list_devices() if keras.backend.backend() == "jax" else []
    n_devices = max((n for n in range(1, len(devices) + 1) if batch_size % n == 0), default=1)
    if n_devices == 1:
        return nullcontext()
    return _Shared(keras.distribution.DataParallel(devices=devices[:n_devices]))


class _Shared(AbstractContextManager):
    """`DataParallel.scope()`, but for more than once."""

    def __init__(self, distribution: keras.distribution.DataParallel) -> None:
        self._distribution = distribution

    def __enter__(self) -> None:
        self._before = keras.distribution.distribution()
        keras.distribution.set_distribution(self._distribution)

    def __exit__(self, *exception: object) -> None:
        keras.distribution.set_distribution(self._before)
