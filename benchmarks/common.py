"""What the benchmarks of speed share: one thread, tasks in turn, ratios of the same round, tables.

CPU time is compared (`edge.bench.interleaved`), never time on the clock, and each figure against a peer is the median
of the ratios of the rounds: what a busy moment does to one side it does to the other.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

_ALONE: Final = {
    **dict.fromkeys(
        ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
        "1",
    ),
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
}


def begin(module: str, about: str) -> argparse.Namespace:
    """The arguments of `python -m benchmarks.<module>`; the process starts anew where libraries may use more threads.

    They look at the environment when they are imported, so that it must be right before.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=about.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds: less than a minute, and less certain")
    args = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in _ALONE.items()):
        command = [sys.executable, "-m", f"benchmarks.{module}", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **_ALONE})
    return args


def times(taken: Mapping[str, Sequence[float]], peer: str, ours: str) -> float:
    """How many times as much CPU the peer took: the median over the rounds."""
    return median(p / o for p, o in zip(taken[peer], taken[ours], strict=True))


def per_second(taken: Sequence[float], seconds: float) -> str:
    """Milliseconds of CPU per second of audio, the median of the rounds."""
    return f"{1000 * median(taken) / seconds:.2f} ms"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]) + "\n"
