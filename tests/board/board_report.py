"""Run every test on emulated boards, and write what they measured into docs/reliability.md: `make board`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "docs/reliability.md"
BEGIN: Final = "<!-- board: written by `make board` -->"
END: Final = "<!-- board: end -->"


def table(figures: dict[str, float]) -> str:
    """The figures as Markdown."""
    rows = [f"| {name} | {value:.1f} |" for name, value in figures.items()]
    return "\n".join(["| on an emulated board | |", "| --- | ---: |", *rows])


def with_table(document: str, figures: dict[str, float]) -> str:
    """The document with the figures between its two marks.

    Raises:
        ValueError: the marks are not there.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT} lacks the line {BEGIN} or {END}")
    return f"{before}{begin}\n{table(figures)}\n{end}{after}"


def main() -> int:
    """Run the tests, print the figures, and keep them if all went well."""
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder) / "figures.json"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "tests/board", *sys.argv[1:]],
            cwd=ROOT,
            env=os.environ | {"TONELIGHT_BOARD": "1", "TONELIGHT_BOARD_FIGURES": str(measured)},
        )
        figures = json.loads(measured.read_text()) if measured.exists() else {}
    print(table(figures))
    if done.returncode == 0 and figures:
        DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8"), figures), encoding="utf-8")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
