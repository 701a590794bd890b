"""What listening costs from samples to events, beside the way it is usually done live.

    python -m benchmarks.path [--quick]

The usual way, as notebooks and demos do it: every half second, features of the last three seconds by librosa, and
Keras `predict` on them. Measured in two forms: with 40 MFCC alone and librosa's defaults, the least that anybody does;
and with MFCC, chroma, mel, RMS and ZCR. The network is an LSTM of 128 units, untrained, which costs the same. It is
given the demo recording; so is tonelight, in blocks as the daemon takes them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import numpy as np

from benchmarks.common import begin, per_second, table, times
from edge.bench import BLOCK_MS, blocks, demo, interleaved
from edge.bundle import default_bundle_path, load_bundle
from edge.pipeline import Pipeline
from edge.sources import SAMPLE_RATE_HZ

WINDOW_S, EVERY_S = 3.0, 0.5
BLOCKS_MS = (5, 10, 20, 40, 100, 500)
N_MICROPHONES = (1, 2, 4, 8)


def main() -> int:
    """Print the tables."""
    args = begin("path", __doc__)
    bundle = load_bundle(default_bundle_path())
    samples = demo()[: (6 if args.quick else 12) * SAMPLE_RATE_HZ]
    seconds = len(samples) / SAMPLE_RATE_HZ

    def listen(block_ms: float, n: int = 1) -> Callable[[], None]:
        pipelines = [Pipeline(bundle) for _ in range(n)]

        def run() -> None:
            for pipeline in pipelines:
                pipeline.reset()
            for block in blocks(samples, block_ms):
                for pipeline in pipelines:
                    pipeline.push(block)
            for pipeline in pipelines:
                pipeline.flush()

        return run

    ours = "tonelight"
    taken = interleaved(
        {ours: listen(BLOCK_MS), "librosa MFCC + Keras predict": _usual(samples, False),
         "librosa MFCC, chroma, mel, RMS, ZCR + Keras predict": _usual(samples, True)},
        2 if args.quick else 5,
    )  # fmt: skip
    print("### Whole path against the usual way\n")
    print(
        table(
            ["", "CPU per second of audio", "against tonelight"],
            [[name, per_second(all_s, seconds), f"{times(taken, name, ours):.0f}x"] for name, all_s in taken.items()],
        )
    )
    n_rounds = 5 if args.quick else 15
    taken = interleaved({f"{ms} ms": listen(ms) for ms in BLOCKS_MS}, n_rounds)
    print("### Whole path by block size\n")
    print(
        table(
            ["blocks of", "CPU per second of audio", "against 20 ms"],
            [
                [name, per_second(all_s, seconds), f"{times(taken, name, '20 ms'):.2f}x"]
                for name, all_s in taken.items()
            ],
        )
    )
    taken = interleaved({str(n): listen(BLOCK_MS, n) for n in N_MICROPHONES}, n_rounds)
    print("### Several microphones in one process\n")
    print(
        table(
            ["microphones", "CPU per second of audio", "against one"],
            [[name, per_second(all_s, seconds), f"{times(taken, name, '1'):.2f}x"] for name, all_s in taken.items()],
        )
    )
    return 0


def _usual(samples: np.ndarray, everything: bool) -> Callable[[], None]:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import librosa

    def features(window: np.ndarray) -> np.ndarray:
        rows = [librosa.feature.mfcc(y=window, sr=SAMPLE_RATE_HZ, n_mfcc=40)]
        if everything:
            rows += [
                librosa.feature.chroma_stft(y=window, sr=SAMPLE_RATE_HZ),
                librosa.feature.melspectrogram(y=window, sr=SAMPLE_RATE_HZ),
                librosa.feature.rms(y=window),
                librosa.feature.zero_crossing_rate(window),
            ]
        return np.concatenate(rows).T[np.newaxis]

    n = round(WINDOW_S * SAMPLE_RATE_HZ)
    shape = features(samples[:n]).shape[1:]
    network = keras.Sequential([keras.Input(shape), keras.layers.LSTM(128), keras.layers.Dense(8, "softmax")])

    def run() -> None:
        padded = np.concatenate([np.zeros(n, np.float32), samples])  # it says something from the first half second on
        for end in range(n, len(padded), round(EVERY_S * SAMPLE_RATE_HZ)):
            network.predict(features(padded[end - n : end]), verbose=0)

    return run


if __name__ == "__main__":
    sys.exit(main())
