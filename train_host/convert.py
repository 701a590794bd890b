"""Keras to TFLite, in a process of its own: `python -m train_host.convert`.

Of its own because the converter must not see a GPU (it would trace cuDNN's kernels), always runs on TensorFlow whatever
trained the weights, and may take the process with it when it fails.

Two forms, both of builtin operations only:
- stream: `train_host.streaming`, states in and out;
- window: the Keras model as it is, each LSTM handed to the converter as the composite function that it turns into one
  UNIDIRECTIONAL_SEQUENCE_LSTM. The converter writes a clip of the cell state at 10 into that operation, which trained
  networks exceed; `_unclip` takes it out again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.bundle import StateSpec, StreamModel, WindowModel
from train_host.errors import ExportError
from train_host.recipes import Recipe, find_recipe

if TYPE_CHECKING:
    import keras

Float32 = NDArray[np.float32]
QUANTIZATIONS = ("dynamic", "int8", "float16", "none")
WINDOW_CHUNK_MS = 500
"""How often a window model is asked anew."""


def convert(
    recipe: Recipe, weights: Path | None, quantization: str, sequences: Path | None, out: Path
) -> StreamModel | WindowModel:
    """Write `out/model.tflite`; return what the manifest says of its tensors.

    `weights` is the `weights.npz` of a run, or None for an untrained network: whether a recipe converts at all is
    better known before it is trained. `sequences` is a file of normalised features to calibrate int8 on
    (`sequences.npz` of a run). Raises ExportError with the converter's own last words.
    """
    command = [sys.executable, "-m", "train_host.convert", recipe.name, quantization, str(out)]
    command += ["--weights", str(weights)] if weights else []
    command += ["--sequences", str(sequences)] if sequences else []
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        raise ExportError(
            f"recipe {recipe.name} does not convert to TFLite ({quantization}): {words[-1] if words else '?'}"
        )
    return msgspec.json.decode((out / "tensors.json").read_bytes(), type=StreamModel | WindowModel)


def load_sequences(path: Path) -> list[Float32]:
    """Normalised features `(n_frames, n_features)` of some segments, as `train` left them."""
    with np.load(path) as file:
        return [file[name] for name in sorted(file.files)]


def _main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m train_host.convert")
    parser.add_argument("recipe")
    parser.add_argument("quantization", choices=QUANTIZATIONS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--sequences", type=Path)
    args = parser.parse_args(arguments)
    recipe = find_recipe(args.recipe)
    model = recipe.build(recipe.features.n_features)
    if args.weights:
        with np.load(args.weights) as file:
            model.set_weights([file[name] for name in sorted(file.files)])
    if args.sequences:
        sequences = load_sequences(args.sequences)
    else:
        rng = np.random.default_rng(0)
        sequences = [rng.standard_normal((160, recipe.features.n_features)).astype(np.float32) for _ in range(4)]
    to_tflite = _stream if recipe.form == "stream" else _window
    content, tensors = to_tflite(model, recipe, args.quantization, sequences)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "model.tflite").write_bytes(content)
    (args.out / "tensors.json").write_bytes(msgspec.json.encode(tensors))


def _convert(function, module, quantization: str, examples) -> bytes:
    """`examples()` yields inputs of `function` as dicts by name, to calibrate int8 on."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    if quantization != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantization == "int8":
        # the calibrator wants the inputs in the converted model's own order, which only a converted model tells
        order, _ = _tensors(_convert(function, module, "none", examples))
        # inputs, outputs and so the states between chunks stay float32: 8 bits are too few for a cell state
        converter.representative_dataset = lambda: ([example[_plain(name)] for name in order] for example in examples())
        # unclipped before it is calibrated, or else the cell state is given a range that ends where the clip was
        quantize = converter._quantize
        converter._quantize = lambda content, *settings: quantize(_unclip(content), *settings)
    # per-channel fully connected layers are a version of the operation that tflite-runtime 2.14 does not know
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return _unclip(converter.convert())


def _stream(
    model: keras.Model, recipe: Recipe, quantization: str, sequences: list[Float32]
) -> tuple[bytes, StreamModel]:
    import tensorflow as tf

    from train_host.streaming import CHUNK_FRAMES, STRIDE, StreamingModel

    streaming = StreamingModel(model)
    shapes = streaming.state_shapes
    names = sorted(shapes)
    function = streaming.concrete_function()

    def examples() -> Iterator[dict[str, Float32]]:
        valid = np.ones((1, CHUNK_FRAMES // STRIDE), np.float32)
        for sequence in sequences[:64]:
            states = {name: np.zeros(shapes[name], np.float32) for name in names}
            for start in range(0, len(sequence) - CHUNK_FRAMES + 1, CHUNK_FRAMES):
                features = sequence[None, start : start + CHUNK_FRAMES]
                yield {"features": features, "valid": valid, **{f"state_{name}": states[name] for name in names}}
                _, *outputs = function(
                    tf.constant(features), tf.constant(valid), *(tf.constant(states[n]) for n in names)
                )
                states = {name: output.numpy() for name, output in zip(names, outputs, strict=True)}

    content = _convert(function, streaming, quantization, examples)
    inputs, outputs = _tensors(content)
    tensors = StreamModel(
        chunk_frames=CHUNK_FRAMES,
        frames_per_step=STRIDE,
        features_input=_input(inputs, "features"),
        valid_input=_input(inputs, "valid"),
        logits_output=outputs[0],
        hears_speech=recipe.hears_speech,
        states=tuple(
            StateSpec(_input(inputs, f"state_{name}"), output, shapes[name])
            for name, output in zip(names, outputs[1:], strict=True)
        ),
    )
    return content, tensors


def _window(
    model: keras.Model, recipe: Recipe, quantization: str, sequences: list[Float32]
) -> tuple[bytes, WindowModel]:
    import keras
    import tensorflow as tf

    shape = (1, recipe.window_frames, recipe.features.n_features)
    fused = keras.models.clone_model(
        model, clone_function=lambda layer: _fused(layer) if isinstance(layer, keras.layers.LSTM) else layer
    )
    fused.set_weights(model.get_weights())
    # the converter finds the weights as variables of this module
    module = tf.Module()
    module.weights = [variable.value for variable in fused.variables]

    @tf.function(autograph=False)
    def serve(features):
        return fused(features, training=False)

    function = serve.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="features"))

    def examples() -> Iterator[dict[str, Float32]]:
        for sequence in sequences[:64]:
            window = np.zeros(shape, np.float32)
            window[0, : len(sequence)] = sequence[-recipe.window_frames :]
            yield {"features": window}

    content = _convert(function, module, quantization, examples)
    inputs, outputs = _tensors(content)
    tensors = WindowModel(
        chunk_frames=round(WINDOW_CHUNK_MS / recipe.features.hop_ms),
        window_frames=recipe.window_frames,
        features_input=_input(inputs, "features"),
        logits_output=outputs[0],
        hears_speech=recipe.hears_speech,
    )
    return content, tensors


def _fused(layer):
    """The LSTM layer as the composite function that the converter knows by its attributes."""
    import keras
    import tensorflow as tf

    units, sequences = layer.units, layer.return_sequences

    def lstm(inputs, h, c, kernel, recurrent, bias):
        def step(state, x):
            h, c = state
            i, f, g, o = tf.split(tf.matmul(x, kernel) + tf.matmul(h, recurrent) + bias, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            return tf.sigmoid(o) * tf.tanh(c), c

        hs, cs = tf.scan(step, tf.transpose(inputs, (1, 0, 2)), (h, c))
        return hs[-1], tf.transpose(hs, (1, 0, 2)), hs[-1], cs[-1], tf.constant(1.0)

    composite = tf.function(
        lstm,
        autograph=False,
        experimental_attributes={
            "api_implements": f"lstm_{layer.name}",
            "api_preferred_device": "CPU",
            "time_major": False,
            "go_backwards": False,
        },
    )

    class FusedLSTM(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 4 * units), name="kernel")
            self.recurrent = self.add_weight(shape=(units, 4 * units), name="recurrent_kernel")
            self.bias = self.add_weight(shape=(4 * units,), name="bias")

        def call(self, inputs, mask=None):  # of which there is none; a functional model passes that on
            zeros = tf.zeros((1, units))
            # as tensors: a variable would be handed over as a resource, which the converter does not recognise
            weights = [tf.convert_to_tensor(weight) for weight in (self.kernel, self.recurrent, self.bias)]
            last, every, *_ = composite(inputs, zeros, zeros, *weights)
            return every if sequences else last

        def compute_output_shape(self, shape):
            return (shape[0], shape[1], units) if sequences else (shape[0], units)

    return FusedLSTM(name=layer.name)


def _unclip(content: bytes) -> bytes:
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for graph in model.subgraphs:
        for operator in graph.operators:
            if hasattr(operator.builtinOptions, "cellClip"):
                operator.builtinOptions.cellClip = 0.0
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _tensors(content: bytes) -> tuple[list[str], list[str]]:
    """Names of the inputs, and of the outputs in the order in which the function returned them."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    inputs = [detail["name"] for detail in interpreter.get_input_details()]
    outputs = [detail["name"] for detail in interpreter.get_output_details()]
    # the converter lists outputs in any order, but numbers them: "PartitionedCall:3"
    return inputs, sorted(outputs, key=lambda name: int(name.rsplit(":", 1)[1]))


def _plain(tensor: str) -> str:
    """The input that the converter made "serving_default_<name>:0" of."""
    return tensor.removeprefix("serving_default_").rsplit(":", 1)[0]


def _input(inputs: list[str], name: str) -> str:
    found = [tensor for tensor in inputs if _plain(tensor) == name]
    if len(found) != 1:
        raise ExportError(f"the converted model has no input {name!r}, only {json.dumps(inputs)}")
    return found[0]


if __name__ == "__main__":
    _main(sys.argv[1:])
