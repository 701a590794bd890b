"""What was aimed at, and whether it was met: the first table of docs/performance.md.

The figures are read from the tables that the other benchmarks print, so that none is written down twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.common import table
from edge.bench import BLOCK_MS


@dataclass(frozen=True)
class Aim:
    """What was to be reached first, and what then; `unit` stands behind the figures.

    `is_least`: no less than that, where others would be no more than that.
    """

    what: str
    first: float
    then: float
    unit: str
    is_least: bool = False

    def verdict(self, figures: Sequence[float]) -> str:
        """Of the worst of the figures."""
        if not figures:
            return "not measured"
        for goal, words in ((self.then, "met, both"), (self.first, "met, the first")):
            if min(figures) >= goal if self.is_least else max(figures) <= goal:
                return words
        return "missed"

    def row(self, measured: Mapping[str, float]) -> list[str]:
        """Of the table; `measured` by what tells the figures apart."""
        sign = "at least" if self.is_least else "at most"
        goals = f"{sign} {self.first:g}{self.unit}", f"{self.then:g}{self.unit}"
        said = ", ".join(f"{figure:.3g}{self.unit} {name}".strip() for name, figure in measured.items())
        return [self.what, *goals, said, self.verdict(list(measured.values()))]


FEATURES = "features of a whole clip, against {}: times as fast"
AIMS = {
    "psf": Aim(FEATURES.format("python_speech_features"), 3, 5, "x", True),
    "librosa": Aim(FEATURES.format("librosa"), 4, 8, "x", True),
    "streamed": Aim("front end in blocks of 20 ms, against our own whole clip: times the cost", 3, 1.5, "x"),
    "share_of_core": Aim("whole path, of one core", 1, 0.4, "%"),
    "usual": Aim("whole path, against librosa and Keras `predict`: times less CPU", 50, 200, "x", True),
    "memory": Aim("daemon, resident memory", 70, 50, " MB"),
    "start": Aim("daemon, from its start to ready", 1.0, 0.5, " s"),
    "event_after_hangover": Aim("speech end to event beyond the hangover, p95", 50, 20, " ms"),
    "model_half_second": Aim("model, its steps of half a second", 0.5, 0.15, " ms"),
    "footprint": Aim("installed size of the device side", 250, 160, " MB"),
}


def aims_table(bench: Mapping[str, float], printed: Mapping[str, str]) -> str:
    """All aims in one table.

    `bench`: the figures of `tonelight bench`; `printed`: by their names what the other benchmarks have printed, of
    which some may be missing.
    """
    measured = {name: {"": bench[name]} for name in AIMS if name in bench}
    if "daemon_share_of_core" in bench:
        measured["share_of_core"] = {
            "(the pipeline alone)": bench["share_of_core"],
            "(the whole daemon, with a recording, log and health file)": bench["daemon_share_of_core"],
            "(and what a microphone's sound needs before)": bench["daemon_share_of_core"] + bench["microphone"] / 10,
        }
    if "event_after_hangover_20" in bench:
        measured["event_after_hangover"] = {
            f"(blocks of {BLOCK_MS} ms)": bench["event_after_hangover"],
            "(of 20 ms)": bench["event_after_hangover_20"],
        }
    if "memory" in bench:
        measured["memory"] = {"(a recording, log and health file, no light)": bench["memory"]}
        total = bench["memory"]
        for row in rows(printed.get("memory", "")):
            for added, words in (("PortAudio", "PortAudio adds"), ("the plugins", "the plugins of this ALSA add")):
                if row[0].startswith(added):
                    total += number(row[1])
                    measured["memory"][f"(and what {words})"] = total
    if "features" in printed:
        lines = rows(printed["features"])
        for name, peer, descriptors in (
            ("psf", "python_speech_features", "MFCC + energy"),
            ("librosa", "librosa", "MFCC + RMS + ZCR"),
        ):
            found = [row for row in lines if row[0] == descriptors and row[2] == peer and row[5]]
            measured[name] = {f"({row[1]})": number(row[5]) for row in found}
        measured["streamed"] = {"": number(next(row[2] for row in lines if row[0] == "20 ms"))}
    if "path" in printed:
        usual = [row for row in rows(printed["path"]) if row[0].startswith("librosa")]
        names = ("(MFCC alone)", "(all descriptors)")
        measured["usual"] = {name: number(row[2]) for name, row in zip(names, usual, strict=True)}
    told = [aim.row(measured.get(name, {})) for name, aim in AIMS.items()]
    return table(["", "aim", "then reach for", "measured", ""], told)


def rows(text: str) -> list[list[str]]:
    """The cells of all lines of the Markdown tables in `text`, heads among them."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def number(cell: str) -> float:
    """The number that a cell begins with."""
    found = re.match(r"[-+]?[\d.]+", cell)
    if found is None:
        raise ValueError(f"no number in {cell!r}")
    return float(found[0])
