"""Measure everything and write docs/performance.md.

    python -m benchmarks.performance [--quick]

Runs the other benchmarks of speed, one after the other, and `tonelight bench`. What a board gives with
`tonelight bench --json > benchmarks/boards/pi-4.json` (pi-5, zero-2-w, jetson) gets a column of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.aims import aims_table
from benchmarks.common import begin, table
from edge.sources import MicrophoneSource

ROOT = Path(__file__).parents[1]
PARTS = ("floor", "memory", "features", "model", "path", "length")
BOARDS = {"pi-4": "Pi 4", "pi-5": "Pi 5", "zero-2-w": "Zero 2 W", "jetson": "Jetson"}
METHOD = """\
# What listening costs

Made by `python -m benchmarks.performance{quick}`; nothing here is written by hand.

CPU time is measured, not time on the clock, and in one thread. What is compared runs in turns within one process (but
for tflite-runtime, which needs a process of its own), and a ratio is the median of the ratios of the rounds, so that a
busy moment strikes both sides; the costs beside it are those of this machine in this hour, and higher the busier it is.
The sound is the demo recording that comes along: speech with its pauses. So many processes wanted a processor at a
time, this one included (`uptime`'s load): {load}.

## What was aimed at

{aims}
Aims are for x86-64. Start-up, lateness of events and the audio callback are on the clock: on a busy machine they say
little. All figures are of this run and stand again, beside others, in the tables below.
"""


def main() -> int:
    """Run all and write the document."""
    args = begin("performance", __doc__)
    quick = ["--quick"] if args.quick else []
    load_before = os.getloadavg()[0]
    print("tonelight bench ...", flush=True)
    here = json.loads(_said("-m", "edge", "bench", "--json"))
    figures = {name: figure["value"] for name, figure in here["figures"].items()}
    out = ROOT / "docs" / "performance.md"
    printed: dict[str, str] = {}
    for part in PARTS:
        print(f"benchmarks.{part} ...", flush=True)
        printed[part] = _said("-m", f"benchmarks.{part}", *quick).strip()
        # after each part: what is there after some minutes stands, whatever becomes of the rest
        method = METHOD.format(
            quick="".join(f" {word}" for word in quick),
            load=f"{load_before:.1f} before the run, {os.getloadavg()[0]:.1f} at its end, of {os.cpu_count()} cores",
            aims=aims_table(figures, printed),
        )
        text = "\n\n".join([method.strip(), _machines(here).strip(), *printed.values()])
        out.write_text(text + "\n", encoding="utf-8")
    print(out)
    return 0


def _said(*arguments: str) -> str:
    """What a command prints; its complaints go to the terminal."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} has failed")
    return done.stdout


def _machines(here: dict[str, Any]) -> str:
    """The table of `tonelight bench` on this machine and on boards."""
    boards = {name: _board(name) for name in BOARDS}
    rows = []
    for name, figure in here["figures"].items():
        measured = [_shown(board, name) for board in boards.values()]
        rows.append([f"{figure['what']} ({figure['unit']})", _shown(here, name), *measured])
    about = (
        f"Here: {here['machine']}; Python {here['python']}, numpy {here['numpy']}, {here['runtime']}, {here['bundle']}."
    )
    return (
        "## On the device: `tonelight bench`\n\n"
        f"{about} A board that is not measured gets its column by `tonelight bench --json > "
        f"benchmarks/boards/NAME.json` with NAME one of {', '.join(BOARDS)}.\n\n"
        + table(["", "here", *BOARDS.values()], rows)
        + "\nFraming and gate, and of features and model as much as the recording holds speech, make up most of the "
        "whole path; besides, each part alone finds its data in the processor's caches. The whole daemon is a process "
        "that waits for each block, with its recording, its log and its health file.\n\n"
        "An audio callback that waits for its turn among Python's threads loses nothing: the driver was asked to keep "
        f"{1000 * MicrophoneSource.DRIVER_S:g} ms of sound, and the ring behind it holds "
        f"{MicrophoneSource.KEPT_S} s.\n"
    )


def _board(name: str) -> dict[str, Any] | None:
    path = ROOT / "benchmarks" / "boards" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _shown(measured: dict[str, Any] | None, name: str) -> str:
    if measured is None or name not in measured["figures"]:
        return "not measured"
    return f"{measured['figures'][name]['value']:.3g}"


if __name__ == "__main__":
    sys.exit(main())
