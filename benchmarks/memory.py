"""Where the daemon's memory is: what one thing after the other adds in a fresh process.

    python -m benchmarks.memory [--quick]

Resident memory, and what of it is pages of files, which other processes share and the system can drop. Nobody gets
below interpreter, numpy and runtime who runs a model from Python. PortAudio asks ALSA for its devices, and ALSA loads
the plugins that a system is set up with to answer: what PortAudio takes by itself is measured without them.
"""

from __future__ import annotations

import os
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
    plain = _resident_mb({"ALSA_PLUGIN_DIR": os.devnull})
    if len(plain) < len(STAGES) - 1:  # PortAudio may not be installed
        raise SystemExit("a stage has failed; see `tonelight doctor`")
    stages = [(what, *mb) for (what, _), mb in zip(STAGES, plain, strict=False)]
    with_plugins = _resident_mb({})
    if len(with_plugins) == len(STAGES):
        stages.append(("the plugins of this system's ALSA", *with_plugins[-1]))
    rows, before_mb = [], 0.0
    for what, all_mb, files_mb in stages:
        rows.append([what, f"{all_mb - before_mb:+.1f} MB", f"{all_mb:.1f} MB", f"{files_mb:.1f} MB"])
        before_mb = all_mb
    print("### Where the memory is\n")
    print(table(["", "adds", "then resident", "of which pages of files"], rows))
    print(
        "ALSA's plugins are those of Debian's libasound2-plugins and the like: ways to PulseAudio and JACK, and "
        "resamplers out of a library of video codecs. Where that package is missing, nothing of it is loaded; here it "
        "is, and a program that lists sound devices gets them all. The daemon of the tables above plays a recording, "
        "and does without PortAudio; what the service takes with a sound card is in reliability.md, of an emulated "
        "board.\n"
    )
    return 0


def _resident_mb(environment: dict[str, str]) -> list[tuple[float, float]]:
    """Resident memory after each stage, and what of it is pages of files; the stages end with one that fails."""
    program = "".join(f"{code}\n{SHOW}" for _, code in STAGES)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what ALSA says of plugins that it does not find
        text=True,
        check=False,
    )
    said = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("stage ")]
    total_mb, of_files_mb = (
        [int(kib) * 1024 / 1e6 for name, kib in said if name == field] for field in ("VmRSS:", "RssFile:")
    )
    return list(zip(total_mb, of_files_mb, strict=True))


if __name__ == "__main__":
    sys.exit(main())
