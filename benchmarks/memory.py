"""Where the daemon's memory is: what one thing after the other adds in a fresh process.

    python -m benchmarks.memory [--quick]

Resident memory, and what of it is pages of files, which other processes share and the system can drop. Nobody gets
below interpreter, numpy and runtime who runs a model from Python.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.common import begin, table

STAGES = (
    ("Python itself", "import sys"),
    ("numpy", "import numpy as np"),
    ("tonelight's modules, and those they need", "import edge.daemon; from edge.bundle import *"),
    ("the bundle, verified", "bundle = load_bundle(default_bundle_path())"),
    ("the model's runtime", "from edge.classifier import load_runtime; load_runtime()"),
    ("the model, ready for sound", "from edge.pipeline import Pipeline; pipeline = Pipeline(bundle)"),
    ("a second of sound", "pipeline.push(np.ones(16000, np.float32)); pipeline.flush()"),
    ("PortAudio, for a microphone", "import sounddevice"),
)
SHOW = """
for line in open("/proc/self/status"):
    if line.startswith(("VmRSS", "RssFile")):
        print("stage", line.split()[0], line.split()[1])
"""


def main() -> int:
    """Print the table."""
    begin("memory", __doc__)
    program = "".join(f"{code}\n{SHOW}" for _, code in STAGES)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    said = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("stage ")]
    total_mb, of_files_mb = (
        [int(kib) * 1024 / 1e6 for name, kib in said if name == field] for field in ("VmRSS:", "RssFile:")
    )
    rows, before_mb = [], 0.0
    # the last of them may not be installed
    for (what, _), all_mb, files_mb in zip(STAGES, total_mb, of_files_mb, strict=False):
        rows.append([what, f"{all_mb - before_mb:+.1f} MB", f"{all_mb:.1f} MB", f"{files_mb:.1f} MB"])
        before_mb = all_mb
    if len(rows) < len(STAGES) - 1:
        raise SystemExit(done.stderr)
    print("### Where the memory is\n")
    print(table(["", "adds", "then resident", "of which pages of files"], rows))
    print(
        "PortAudio brings what the system's sound libraries load: little on a board, a desktop's plugins with their "
        "codecs elsewhere. The daemon of the tables above plays a recording, and does without; what the service takes "
        "with a sound card and nothing but a board's own libraries is in reliability.md, of an emulated one.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
