"""The default network in the form that boards run: a chunk of frames and the states in, logits and the states out.

The same mathematics as `train_host.model`, written for one chunk: the recurrence is unrolled over the steps of the
chunk (each a small fully connected layer, which TFLite quantizes and runs well), and everything that training sums over
the whole utterance is a running sum here. Only builtin TFLite operations come out.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from train_host.model import REACH, SCORE_BOUND, STRIDE
from train_host.statistics import BOUND, LEAST_VARIANCE, N_STATISTICS

CHUNK_FRAMES = 32
"""0.32 s: the light moves three times a second, and the interpreter's overhead stays small against its work."""


class StreamingModel(tf.Module):
    """Holds the weights of a trained `train_host.model` as constants, and its streaming `step`."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        weights = {layer.name: [np.asarray(w) for w in layer.get_weights()] for layer in model.layers}
        self._stem_kernel, self._stem_bias = weights["stem"]
        self._norm_scale, self._norm_offset = weights["stem_norm"]
        self._norm_epsilon = model.get_layer("stem_norm").epsilon
        self._lstm = [weights[name] for name in sorted(weights) if name.startswith("lstm_")]
        (self._pooling,) = weights["pooling"]
        self._statistics = _Statistics(model.get_layer("statistics")) if "statistics" in weights else None
        self._out_kernel, self._out_bias = weights["logits"]
        self.n_features = self._stem_kernel.shape[1]
        self.units = self._stem_kernel.shape[2]
        self.n_heads = self._pooling.shape[1]

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each state; all are zero at the start of a segment."""
        shapes: dict[str, tuple[int, ...]] = {"stem": (1, REACH - STRIDE, self.n_features)}
        for i in range(len(self._lstm)):
            shapes[f"h{i}"] = shapes[f"c{i}"] = (1, self.units)
        # the plain mean is one more head, of weight 1 everywhere
        shapes["weighted"] = (1, self.n_heads + 1, self.units)
        shapes["weight"] = (1, self.n_heads + 1)
        if self._statistics is not None:
            shapes["averages"] = (1, N_STATISTICS * self.n_features)
        return shapes

    def step(self, features: tf.Tensor, valid: tf.Tensor, states: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`features (1, CHUNK_FRAMES, F)`, `valid (1, CHUNK_FRAMES / STRIDE)` -> `logits (1, n)` and the new states."""
        n_steps, units = CHUNK_FRAMES // STRIDE, self.units
        new: dict[str, tf.Tensor] = {}

        # every step sees its own STRIDE frames and those before: two neighbouring rows of (n_steps + 1, STRIDE * F)
        seen = tf.concat([states["stem"], features], axis=1)
        new["stem"] = seen[:, -(REACH - STRIDE) :]
        rows = tf.reshape(seen, (n_steps + 1, STRIDE * self.n_features))
        pairs = tf.concat([rows[:-1], rows[1:]], axis=1)
        steps = tf.matmul(pairs, self._stem_kernel.reshape(REACH * self.n_features, units)) + self._stem_bias
        mean = tf.reduce_mean(steps, axis=1, keepdims=True)
        variance = tf.reduce_mean(tf.square(steps - mean), axis=1, keepdims=True)
        steps = (steps - mean) * tf.math.rsqrt(variance + self._norm_epsilon) * self._norm_scale + self._norm_offset
        steps = tf.nn.relu(steps)

        is_valid = tf.reshape(valid, (n_steps, 1))
        for i, (kernel, recurrent, bias) in enumerate(self._lstm):
            h, c = states[f"h{i}"], states[f"c{i}"]
            from_input = tf.matmul(steps, kernel) + bias
            outputs = []
            for t in range(n_steps):
                gates = from_input[t : t + 1] + tf.matmul(h, recurrent)
                gate_i, gate_f, gate_g, gate_o = tf.split(gates, 4, axis=1)  # Keras' order
                next_c = tf.sigmoid(gate_f) * c + tf.sigmoid(gate_i) * tf.tanh(gate_g)
                next_h = tf.sigmoid(gate_o) * tf.tanh(next_c)
                outputs.append(next_h)
                # padding comes last in a segment: what the states become there is never read
                h, c = next_h, next_c
            new[f"h{i}"], new[f"c{i}"] = h, c
            steps = steps + tf.concat(outputs, axis=0)

        scores = SCORE_BOUND * tf.tanh(tf.matmul(steps, self._pooling) / SCORE_BOUND)
        weights = tf.concat([tf.exp(scores), tf.ones((n_steps, 1))], axis=1) * is_valid
        weighted = states["weighted"] + tf.reshape(
            tf.matmul(weights, steps, transpose_a=True), states["weighted"].shape
        )
        weight = states["weight"] + tf.reduce_sum(weights, axis=0, keepdims=True)
        new["weighted"], new["weight"] = weighted, weight
        pooled = tf.reshape(weighted / (tf.expand_dims(weight, -1) + 1e-6), (1, (self.n_heads + 1) * units))
        if self._statistics is not None:
            new["averages"] = self._statistics.averages(seen, is_valid, states["averages"], states["weight"][:, -1:])
            pooled = tf.concat([pooled, self._statistics.hidden(new["averages"])], axis=1)
        logits = tf.matmul(pooled, self._out_kernel) + self._out_bias
        return {"logits": tf.reshape(logits, (1, self._out_bias.shape[0])), **new}

    def concrete_function(self):
        """`step` with fixed shapes; inputs `features`, `valid`, `state_<name>`, outputs `logits`, `state_<name>`."""
        names = sorted(self.state_shapes)

        @tf.function(autograph=False)
        def serve(features, valid, *states):
            out = self.step(features, valid, dict(zip(names, states, strict=True)))
            return [tf.identity(out[name]) for name in ("logits", *names)]

        return serve.get_concrete_function(
            tf.TensorSpec((1, CHUNK_FRAMES, self.n_features), tf.float32, name="features"),
            tf.TensorSpec((1, CHUNK_FRAMES // STRIDE), tf.float32, name="valid"),
            *(tf.TensorSpec(self.state_shapes[name], tf.float32, name=f"state_{name}") for name in names),
        )


class _Statistics:
    """The second part of the network, `train_host.statistics`, for one chunk."""

    def __init__(self, network: keras.Model) -> None:
        weights = {layer.name: [np.asarray(w) for w in layer.get_weights()] for layer in network.layers}
        self._mean, variance = weights["norm"]
        self._scale = (1 / np.sqrt(variance + network.get_layer("norm").epsilon)).astype(np.float32)
        self._dense = [weights[name] for name in sorted(weights) if name.startswith("hidden_")]

    def averages(self, seen: tf.Tensor, is_valid: tf.Tensor, before: tf.Tensor, n_before: tf.Tensor) -> tf.Tensor:
        """`seen (1, REACH - STRIDE + CHUNK_FRAMES, F)`, `is_valid (n_steps, 1)`, the averages so far `(1, 5 F)` and of
        how many steps they are `(1, 1)` -> those with this chunk."""
        n_steps, n_features = CHUNK_FRAMES // STRIDE, seen.shape[2]
        rows = seen[0]
        frames, previous = rows[STRIDE:], rows[STRIDE - 1 : -1]
        by_step = tf.reshape(rows, (n_steps + 1, STRIDE, n_features))
        steps = tf.reduce_mean(by_step, axis=1)
        # nothing is before the first frame of a segment
        is_begun = tf.concat([tf.minimum(n_before, 1.0), tf.ones((n_steps - 1, 1))], axis=0)
        is_begun_frames = tf.concat([tf.minimum(n_before, 1.0), tf.ones((CHUNK_FRAMES - 1, 1))], axis=0)
        movement = tf.abs(frames - previous) * is_begun_frames
        each = tf.concat(
            [
                steps[1:],
                tf.reduce_mean(tf.square(by_step[1:]), axis=1),
                tf.reduce_mean(tf.reshape(movement, (n_steps, STRIDE, n_features)), axis=1),
                tf.square(steps[1:]),
                tf.abs(steps[1:] - steps[:-1]) * is_begun,
            ],
            axis=1,
        )
        n_now = tf.reduce_sum(is_valid)
        added = tf.matmul(is_valid, each, transpose_a=True) - n_now * before
        return before + added / tf.maximum(n_before + n_now, 1.0)

    def hidden(self, averages: tf.Tensor) -> tf.Tensor:
        """Averages `(1, 5 F)` -> what the logits are made of, `(1, units)`."""
        mean, square, moved, slow_square, slow_moved = tf.split(averages, N_STATISTICS, axis=1)
        deviation, slow_deviation = (
            tf.sqrt(tf.maximum(one - tf.square(mean), 0.0) + LEAST_VARIANCE) for one in (square, slow_square)
        )
        hidden = tf.concat([mean, deviation, moved, slow_deviation, slow_moved], axis=1)
        hidden = tf.clip_by_value((hidden - self._mean) * self._scale, -BOUND, BOUND)
        for kernel, bias in self._dense:
            hidden = tf.nn.relu(tf.matmul(hidden, kernel) + bias)
        return hidden
