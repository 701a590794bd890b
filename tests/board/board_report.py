"""Run every test on emulated boards; what held and what was measured goes into docs/reliability.md: `make board`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "docs/reliability.md"
BEGIN: Final = "<!-- board: written by `make board` -->"
END: Final = "<!-- board: end -->"


def held(junit: str) -> list[str]:
    """What passed on a board, in words, from pytest's report in XML: `microphone: unplugged and back`."""
    words: dict[str, None] = {}
    for case in ElementTree.fromstring(junit).iter("testcase"):
        file, test = case.get("classname", "").rpartition(".")[2], case.get("name", "").partition("[")[0]
        if file != "test_report" and len(case) == 0:  # neither skipped nor failed
            words[f"{file.removeprefix('test_')}: {test.removeprefix('test_')}".replace("_", " ")] = None
    return list(words)


def table(figures: dict[str, float], passed: list[str]) -> str:
    """What held and the figures as Markdown."""
    tests = ["| what held on an emulated board |", "| --- |", *(f"| {name} |" for name in passed)]
    rows = [f"| {name} | {value:.1f} |" for name, value in figures.items()]
    return "\n".join([*tests, "", "| measured there | |", "| --- | ---: |", *rows])


def with_table(document: str, figures: dict[str, float], passed: list[str]) -> str:
    """The document with the tables between its two marks.

    Raises:
        ValueError: the marks are not there.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT} lacks the line {BEGIN} or {END}")
    return f"{before}{begin}\n{table(figures, passed)}\n{end}{after}"


def main() -> int:
    """Run the tests, print what held and the figures, and keep them if all went well."""
    with tempfile.TemporaryDirectory() as folder:
        measured, report = Path(folder) / "figures.json", Path(folder) / "report.xml"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "tests/board", f"--junitxml={report}", *sys.argv[1:]],
            cwd=ROOT,
            env=os.environ | {"TONELIGHT_BOARD": "1", "TONELIGHT_BOARD_FIGURES": str(measured)},
        )
        figures = json.loads(measured.read_text()) if measured.exists() else {}
        passed = held(report.read_text(encoding="utf-8")) if report.exists() else []
    print(table(figures, passed))
    if done.returncode == 0 and figures:
        DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8"), figures, passed), encoding="utf-8")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
