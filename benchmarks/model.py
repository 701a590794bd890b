"""What a step of the model costs in the runtimes there are, with the same network.

    python -m benchmarks.model [--quick]

The shipped bundle (8-bit weights) and the same network unquantized, as the daemon runs them: with states handed on and
answers checked. The bare interpreters of ai-edge-litert and TensorFlow, given what lies ready. And the Keras network it
is made from, called on half a second of frames. The unquantized network is untrained, which costs the same. One
invocation takes 0.32 s of audio; the table says what half a second takes.

tflite-runtime, which is for NumPy 1, needs an environment of its own, and runs after the others: `python3.11 -m venv
build/tflite-runtime; build/tflite-runtime/bin/pip install tflite-runtime 'numpy<2'`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import interpreter
from benchmarks.common import begin, table, times
from edge.bench import interleaved
from edge.bundle import MODEL, Bundle, default_bundle_path, load_bundle
from edge.classifier import Classifier, load_runtime

N_CALLS = 200
TFLITE_RUNTIME = Path(__file__).parents[1] / "build" / "tflite-runtime" / "bin" / "python"


def main() -> int:
    """Print the table."""
    args = begin("model", __doc__)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import tensorflow as tf

    from train_host.convert import convert
    from train_host.recipes import find_recipe

    bundle = load_bundle(default_bundle_path())
    recipe, spec = find_recipe(bundle.manifest.recipe), bundle.manifest.model
    call_s = spec.chunk_frames * bundle.manifest.features.hop_ms / 1000
    with tempfile.TemporaryDirectory() as folder:
        convert(recipe, None, "none", None, Path(folder))
        unquantized = (Path(folder) / "model.tflite").read_bytes()
    features = np.random.default_rng(0).standard_normal((spec.chunk_frames, bundle.manifest.features.n_features))
    features = features.astype(np.float32)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    network = recipe.build(bundle.manifest.features.n_features)
    half = {
        "features": tf.constant(np.resize(features, (1, 48, features.shape[1]))),
        "valid": tf.ones((1, 48 // spec.frames_per_step)),
    }

    def steps(model: bytes) -> Callable[[], None]:
        classifier = Classifier(Bundle(bundle.path, bundle.manifest, model))

        def run() -> None:
            for _ in range(N_CALLS):
                classifier.step(features)

        return run

    tasks = {
        "tonelight: ai-edge-litert, 8-bit weights": steps(bundle.model),
        "tonelight: ai-edge-litert, float32": steps(unquantized),
        "ai-edge-litert's interpreter, 8-bit weights": interpreter.calls(load_runtime()[0], bundle.model, N_CALLS),
        "TensorFlow's interpreter, 8-bit weights": interpreter.calls(tf.lite.Interpreter, bundle.model, N_CALLS),
        "TensorFlow's interpreter, float32": interpreter.calls(tf.lite.Interpreter, unquantized, N_CALLS),
        "Keras network called on 0.48 s": lambda: [network(half, training=False) for _ in range(3)],
        "Keras predict on 0.48 s": lambda: [network.predict(half, verbose=0) for _ in range(3)],
    }
    n_rounds = 3 if args.quick else 11
    taken = interleaved(tasks, n_rounds)
    ours = next(iter(tasks))
    alone = _tflite_runtime(bundle.path / MODEL, n_rounds)
    if alone is not None:
        taken["tflite-runtime, 8-bit weights"] = alone
    rows = []
    for name, all_s in taken.items():
        # Keras is called on half a second itself, and seldom: it takes its time
        scale = N_CALLS * call_s / 0.5 if "Keras" not in name else 3 * 0.48 / 0.5
        scaled = [second / scale for second in all_s]
        taken[name] = scaled
        rows.append([name, f"{1000 * sorted(scaled)[len(scaled) // 2]:.3f} ms", f"{times(taken, name, ours):.1f}x"])
    if alone is None:
        rows.append(["tflite-runtime", "not installed", ""])
    print("### Model, half a second of audio\n")
    print(table(["runtime", "CPU", "against tonelight"], rows))
    print(
        "tonelight hands states on and checks the answer; the interpreters are given what lies ready. tflite-runtime "
        "needs an environment and so a process of its own: it runs after the others, not in turns with them. Files: "
        f"{len(bundle.model) / 1000:.0f} kB with 8-bit weights, {len(unquantized) / 1000:.0f} kB in float32.\n"
    )
    return 0


def _tflite_runtime(model: Path, n_rounds: int) -> list[float] | None:
    """CPU seconds of each round, in a process of its own; None where there is no such interpreter."""
    if not TFLITE_RUNTIME.exists():
        return None
    done = subprocess.run(
        [TFLITE_RUNTIME, interpreter.__file__, model, str(N_CALLS)],
        input="\n" * n_rounds,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    sys.exit(main())
