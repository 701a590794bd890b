"""The TFLite interpreter, with its state in plain sight."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle, StreamModel, WindowModel
from edge.errors import BundleError

Float32 = NDArray[np.float32]


def load_runtime() -> tuple[Any, str]:
    """The interpreter class of the installed TFLite runtime, and the runtime's name and version.

    Raises BundleError where none is installed.
    """
    from importlib.metadata import version

    try:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter, f"ai-edge-litert {version('ai-edge-litert')}"
    except ImportError:
        pass
    try:
        from tflite_runtime.interpreter import Interpreter

        return Interpreter, f"tflite-runtime {version('tflite-runtime')}"
    except ImportError as error:
        raise BundleError(f"no TFLite runtime can be loaded ({error}); pip install ai-edge-litert") from None


class Classifier:
    """Runs the model of a bundle over the normalised features of one segment after the other.

    `step` takes the next chunk and answers with the logits of the segment so far. One thread: the model is too small to
    gain from a second, and the board has other work.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._spec = bundle.manifest.model
        self._n_features = bundle.manifest.features.n_features
        self._n_logits = len(bundle.labels) + bundle.manifest.model.hears_speech
        self._where = str(bundle.path / "model.tflite")
        interpreter_class, _ = load_runtime()
        try:
            self._interpreter = interpreter_class(model_content=bundle.model, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{self._where} is not a model this runtime can load: {_first_line(error)}") from None
        self._inputs = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
        self._outputs = {detail["name"]: detail for detail in self._interpreter.get_output_details()}
        spec = self._spec
        frames = spec.chunk_frames if isinstance(spec, StreamModel) else spec.window_frames
        self._features_index = self._find(self._inputs, spec.features_input, (1, frames, self._n_features))
        self._logits_index = self._find(self._outputs, spec.logits_output, (1, self._n_logits))
        self._features: Float32 = np.zeros((1, frames, self._n_features), np.float32)
        used_inputs, used_outputs = [spec.features_input], [spec.logits_output]
        if isinstance(spec, StreamModel):
            n_steps = spec.chunk_frames // spec.frames_per_step
            self._valid_index = self._find(self._inputs, spec.valid_input, (1, n_steps))
            # row `n` says that the first `n` steps are there
            self._valid: Float32 = np.tri(n_steps + 1, n_steps, -1, np.float32)
            self._states = [
                (self._find(self._inputs, s.input, s.shape), self._find(self._outputs, s.output, s.shape), s.shape)
                for s in spec.states
            ]
            used_inputs += [spec.valid_input, *(s.input for s in spec.states)]
            used_outputs += [s.output for s in spec.states]
        # a state that is not handed back, or handed back twice, gives answers, but wrong ones
        self._each_used_once(self._inputs, used_inputs)
        self._each_used_once(self._outputs, used_outputs)
        self.reset()

    def _find(self, details: dict[str, Any], name: str, shape: tuple[int, ...]) -> int:
        if name not in details:
            raise BundleError(
                f"{self._where} has no tensor {name!r}, which the manifest names; it has {', '.join(sorted(details))}. "
                "Export the bundle again"
            )
        found = tuple(int(n) for n in details[name]["shape"])
        if found != shape or details[name]["dtype"] is not np.float32:
            raise BundleError(
                f"{self._where}: tensor {name!r} is {found} of {np.dtype(details[name]['dtype']).name}, "
                f"the manifest needs {shape} of float32. Model and manifest do not belong together"
            )
        return int(details[name]["index"])

    def _each_used_once(self, details: dict[str, Any], used: list[str]) -> None:
        if sorted(used) != sorted(details):
            raise BundleError(
                f"{self._where} has the tensors {', '.join(sorted(details))}, the manifest uses "
                f"{', '.join(sorted(used))}; each must be used once. Export the bundle again"
            )

    def reset(self) -> None:
        """Start of a segment: every state zero."""
        if isinstance(self._spec, StreamModel):
            for index, _, shape in self._states:
                self._interpreter.set_tensor(index, np.zeros(shape, np.float32))
        self._features.fill(0)
        self._n_held = 0

    def step(self, features: Float32) -> Float32 | None:
        """Take the next `(n, n_features)` of the segment, n at most `chunk_frames`; return its logits so far.

        Shape `(n_labels,)`, with one more where the model hears speech; None while less than one step of the
        recurrence has arrived.
        """
        spec = self._spec
        if isinstance(spec, WindowModel):
            return self._window_step(features, spec)
        n_steps = len(features) // spec.frames_per_step
        if n_steps == 0:
            return None
        self._features[0, : len(features)] = features
        self._features[0, len(features) :] = 0
        interpreter = self._interpreter
        interpreter.set_tensor(self._features_index, self._features)
        interpreter.set_tensor(self._valid_index, self._valid[n_steps : n_steps + 1])
        self._invoke()
        logits = interpreter.get_tensor(self._logits_index)[0]
        for into, out, _ in self._states:
            interpreter.set_tensor(into, interpreter.get_tensor(out))
        return self._checked(logits)

    def _window_step(self, features: Float32, spec: WindowModel) -> Float32 | None:
        if len(features) == 0:
            return None
        window = self._features[0]
        overflow = self._n_held + len(features) - spec.window_frames
        if overflow > 0:
            window[: self._n_held - overflow] = window[overflow : self._n_held].copy()
            self._n_held -= overflow
        window[self._n_held : self._n_held + len(features)] = features
        self._n_held += len(features)
        # the fused LSTM keeps its state between calls unless told not to
        self._interpreter.reset_all_variables()
        self._interpreter.set_tensor(self._features_index, self._features)
        self._invoke()
        return self._checked(self._interpreter.get_tensor(self._logits_index)[0])

    def _invoke(self) -> None:
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{self._where} cannot be run: {_first_line(error)}; run `tonelight doctor`") from None

    def _checked(self, logits: Float32) -> Float32:
        if not all(map(math.isfinite, logits.tolist())):  # for so few, numpy takes three times as long
            raise BundleError(f"{self._where} answered with numbers that are not finite; run `tonelight doctor`")
        return logits


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
