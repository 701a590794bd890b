"""Does an hour cost the same after a day? 24 hours of sound through one pipeline, as fast as it goes.

    python -m benchmarks.length [--quick]      # quick: 24 minutes instead of hours

The demo recording over and over (speech and pauses), in blocks of 100 ms.
"""

from __future__ import annotations

import resource
import sys
import time

from benchmarks.common import begin, table
from edge.bench import blocks, demo
from edge.bundle import default_bundle_path, load_bundle
from edge.pipeline import Pipeline
from edge.sources import SAMPLE_RATE_HZ

PARTS = 24
SHOWN = (1, 2, 6, 12, 24)
BLOCK_MS = 100


def main() -> int:
    """Print the table."""
    args = begin("length", __doc__)
    part_s, unit = (60.0, "minute") if args.quick else (3600.0, "hour")
    pipeline = Pipeline(load_bundle(default_bundle_path()))
    samples = demo()
    round_s = len(samples) / SAMPLE_RATE_HZ
    rows = []
    first_ms = first_mb = 0.0
    for part in range(1, PARTS + 1):
        began_s, heard_s, n_events = time.process_time(), 0.0, 0
        while heard_s < part_s:
            for block in blocks(samples, BLOCK_MS):
                n_events += len(pipeline.push(block))
            heard_s += round_s
        ms = 1000 * (time.process_time() - began_s) / heard_s
        mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        if part == 1:
            first_ms, first_mb = ms, mb
        if part in SHOWN:
            rows.append([f"{unit} {part}", f"{ms:.2f} ms", f"{ms / first_ms:.2f}x", f"{mb - first_mb:+.1f} MB"])
    print(f"### One pipeline for {PARTS} {unit}s of sound\n")
    print(table(["", "CPU per second of audio", f"against {unit} 1", "peak memory since then"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
