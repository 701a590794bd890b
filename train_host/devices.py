"""What a training computes on: all GPUs of a machine, each its part of every batch, by Keras' own distribution; and
whether the LSTM there is cuDNN's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import keras
import numpy as np
from numpy.typing import NDArray


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


def uses_cudnn(model: keras.Model, inputs: Sequence[NDArray[np.float32]]) -> bool:
    """Whether cuDNN computes an LSTM of `model` where it is trained on such a batch.

    Keras takes another way without a word where cuDNN cannot be used, so this is looked up in what the backend makes of
    the network. Raises ValueError with a backend that is neither TensorFlow nor JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        traced = tf.function(lambda batch: model(batch, training=True)).get_concrete_function(
            [tf.TensorSpec(one.shape, one.dtype) for one in inputs]
        )
        graph = traced.graph.as_graph_def()
        operations = {node.op for node in graph.node}
        operations |= {node.op for function in graph.library.function for node in function.node_def}
        return "CudnnRNNV3" in operations
    if backend == "jax":
        import jax

        variables = [[one.value for one in own] for own in (model.trainable_variables, model.non_trainable_variables)]
        traced = jax.make_jaxpr(lambda *given: model.stateless_call(*given, training=True)[0])(*variables, list(inputs))
        # of `jax.experimental.rnn`, which has no other form than that of the GPU's library
        return "rnn_fwd" in str(traced)
    raise ValueError(f"no telling with the backend {backend}; set KERAS_BACKEND to tensorflow or jax")
