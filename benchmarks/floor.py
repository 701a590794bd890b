"""How near is it to what this processor could do? Operations and bytes counted, and the floor they make.

    python -m benchmarks.floor [--quick]

Counted are the floating-point operations of a second of speech (100 frames) and of one invocation of the model, and
the bytes that each array operation reads and writes. What the processor can do is measured in the same run: a matrix
product of 512 x 512 in float32 for operations, a copy within the second-level cache for bytes. The floor is the longer
of the two; what stands above it is numpy's and Python's cost of a call, and Fourier transforms that do not run as fast
as matrix products. Then, by `cProfile`, in which functions the time of the whole path goes.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.common import begin, table
from edge.bench import blocks, demo, interleaved
from edge.bundle import Manifest, default_bundle_path, load_bundle
from edge.classifier import Classifier
from edge.features import FeatureConfig, FeatureExtractor, mel_filterbank
from edge.framing import OffsetRemover, level_db
from edge.gate import Gate
from edge.pipeline import Pipeline

SIZE = 512
COPIED = 32_000  # floats: two arrays of 128 kB
N_CALLS = 100
N_SHOWN = 10


def main() -> int:
    """Print the tables."""
    args = begin("floor", __doc__)
    bundle = load_bundle(default_bundle_path())
    manifest = bundle.manifest
    config, n = manifest.features, manifest.model.chunk_frames
    rng = np.random.default_rng(0)
    square = rng.standard_normal((SIZE, SIZE)).astype(np.float32)
    source, target = np.ones(COPIED, np.float32), np.empty(COPIED, np.float32)
    frames = (0.1 * rng.standard_normal((n, config.window_length))).astype(np.float32)
    many = np.tile(frames, (4, 1))
    n_many = len(many)
    row = rng.standard_normal((n, config.n_features)).astype(np.float32)
    extractor, classifier = FeatureExtractor(config), Classifier(bundle)
    offset, gate = OffsetRemover(config.hop_ms), Gate(manifest.gate, config.hop_ms)
    padded = np.zeros((n, config.n_fft), np.float32)
    padded[:, : config.window_length] = frames
    power = np.square(np.abs(np.fft.rfft(padded)))

    def transform() -> None:
        np.fft.rfft(padded, norm="forward")
        np.fft.irfft(power, config.n_fft)

    tasks = {
        "product": lambda: square @ square,
        "copy": _often(lambda: np.copyto(target, source)),
        "cut": _often(lambda: list(gate.push(level_db(*offset.push(frames)).tolist()))),
        "features": _often(lambda: extractor.compute(frames)),
        "many": _often(lambda: extractor.compute(many)),
        "transform": _often(transform),
        "model": _often(lambda: classifier.step(row)),
    }
    taken = {name: median(all_s) for name, all_s in interleaved(tasks, 5 if args.quick else 21).items()}
    flops = 2 * SIZE**3 / taken["product"]
    bytes_per_s = N_CALLS * 2 * source.nbytes / taken["copy"]
    per_second = 1000 / config.hop_ms / n
    rows = []
    model = _model(bundle.model, manifest)
    for name, what, of_second, (operations, n_bytes) in (
        ("cut", "offset, level and gate", 1.0, _cutting(config, n)),
        ("features", "features", 1.0, _features(config, n)),
        ("transform", "of these: the spectrum, and back for the pitch, by numpy", 1.0, _transforms(config, n)),
        ("many", f"features, {n_many} frames at once instead of {n}", n / n_many, _features(config, n_many)),
        ("model", "model", 1.0, model),
        ("model", "model, for half a second", 0.5, model),
    ):
        floor_s = max(operations / flops, n_bytes / bytes_per_s)
        took_s = taken[name] / N_CALLS
        calls = of_second * per_second
        counted = f"{calls * operations / 1e6:.2f} M", f"{calls * n_bytes / 1e6:.1f} MB"
        took = f"{1000 * calls * floor_s:.3f} ms", f"{1000 * calls * took_s:.3f} ms"
        rows.append([what, *counted, *took, f"{took_s / floor_s:.1f}x"])
    print("### The floor, for a second of speech\n")
    print(
        f"This processor, in this run: {flops / 1e9:.0f} GFLOP/s in a matrix product, {bytes_per_s / 1e9:.0f} GB/s "
        "read and written within its cache.\n"
    )
    print(table(["", "operations", "bytes", "floor", "measured", "above the floor"], rows))
    print(
        "Tried for the spectrum, and not quicker than numpy's transform: a product with the whole matrix, products "
        "with half of it after folding each frame at its middle, and two smaller products one after the other. Offset "
        "and gate step from frame to frame in Python: what either does next depends on what it did before, so there is "
        "no array to do it for.\n"
    )
    pipeline, samples = Pipeline(bundle), demo()

    def hear() -> None:
        for block in blocks(samples):
            pipeline.push(block)
        pipeline.flush()

    n_rounds = 3 if args.quick else 9
    shares, of_features = _profile(hear, n_rounds), _profile(tasks["features"], n_rounds)
    print("### Where the time of the whole path goes\n")
    print(
        "By function, as `cProfile` names them: its own time, without that of the functions it calls. What an operator "
        "does to an array counts for the function it stands in. Being watched takes time, and most where a call is "
        "short.\n"
    )
    print(table(["function", "of the time"], [[f"`{name}`", f"{share:.1%}"] for name, share in shares[:N_SHOWN]]))
    most = ", ".join(f"`{name}` {share:.0%}" for name, share in of_features[:5])
    print(
        f"Of the features alone: {most}. Little of that is a matrix product, by whose speed the floor is reckoned: it "
        "is numpy's transform, and one pass after the other over arrays of a few frames. What the calls cost, however "
        f"little they are given, shows in the rows above for {n} and for {n_many} frames at once; the board takes "
        f"{n}, so that an answer need not wait for more.\n"
    )
    return 0


def _profile(task: Callable[[], None], n_rounds: int) -> list[tuple[str, float]]:
    """Functions and the share of the time that each needs for itself, the largest first.

    By the clock, as to ask for CPU time takes longer than many a function; the median of the rounds leaves out what a
    busy moment adds to one of them.
    """
    rounds: list[dict[tuple[str, int, str], float]] = []
    for _ in range(n_rounds):
        profile = cProfile.Profile()
        profile.runcall(task)
        rounds.append({function: took[2] for function, took in pstats.Stats(profile).stats.items()})
    own_s = {function: median(one.get(function, 0.0) for one in rounds) for function in rounds[0]}
    total_s = sum(own_s.values())
    shares = [
        (
            name.strip("<>").removeprefix("built-in method ") if file == "~" else f"{Path(file).name}:{line} {name}",
            s / total_s,
        )
        for (file, line, name), s in own_s.items()
    ]
    return sorted(shares, key=lambda one: -one[1])


def _often(task: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(N_CALLS):
            task()

    return run


def _cutting(config: FeatureConfig, n: int) -> tuple[float, float]:
    """Operations and bytes of `n` frames: two means, a difference, a sum of squares."""
    samples = n * config.window_length
    return 5 * samples, 4 * (5 * samples)


def _transforms(config: FeatureConfig, n: int) -> tuple[float, float]:
    """Operations and bytes of `n` transforms there and back; one counts for 2.5 N log2 N operations."""
    n_fft, bins = config.n_fft, config.n_fft // 2 + 1
    return n * 2 * 2.5 * n_fft * np.log2(n_fft), n * (4 * n_fft + 8 * bins + 4 * bins + 8 * n_fft)


def _features(config: FeatureConfig, n: int) -> tuple[float, float]:
    """Operations and bytes of `n` frames of MFCC, RMS, ZCR and pitch.

    Bytes are those that must be read and written once by each step: frames, their windowed copy, the spectrum, its
    power, the autocorrelation (8 bytes a number, as numpy computes it), mel, logarithm and cosine transform. Of the mel
    triangles count the bins that lie in them.
    """
    window, n_fft, mels = config.window_length, config.n_fft, config.n_mels
    bins, lags = n_fft // 2 + 1, 168
    operations = window * (1 + 2 + 3) + _transforms(config, 1)[0] + 3 * bins
    triangles = mel_filterbank(mels, n_fft, config.sample_rate_hz, config.f_min_hz, config.f_max_hz)
    operations += 2 * np.count_nonzero(triangles) + 4 * mels + 2 * mels * config.n_mfcc + 4 * lags
    n_bytes = 4 * window * (2 + 1 + 1) + 4 * n_fft + 2 * 8 * bins + 3 * 4 * bins + 2 * 8 * n_fft
    n_bytes += 4 * (6 * mels + config.n_mfcc + 4 * lags)
    return n * operations, n * n_bytes + 4 * mels * (bins + config.n_mfcc)


def _model(model: bytes, manifest: Manifest) -> tuple[float, float]:
    """Operations and bytes of one invocation: products of its layers, and each layer's weights as often as it runs."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # without the delegate, which hides the layers it took over
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=plain)
    tensors = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    operations = n_bytes = 0.0
    for operator in interpreter._get_ops_details():
        if operator["op_name"] == "FULLY_CONNECTED":
            weights, out = tensors[operator["inputs"][1]], tensors[operator["outputs"][0]]
            operations += 2 * np.prod(out["shape"]) * weights["shape"][-1]
            n_bytes += np.prod(weights["shape"]) * np.dtype(weights["dtype"]).itemsize
    n_bytes += sum(2 * 4 * np.prod(state.shape) for state in manifest.model.states)  # in and out
    return operations, n_bytes


if __name__ == "__main__":
    sys.exit(main())
