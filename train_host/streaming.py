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
