"""The benchmarks of speed run and print what they promise; how fast it is, no test says."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.aims import AIMS, Aim, aims_table, number
from benchmarks.performance import _machines

ROOT = Path(__file__).parents[1]
needs_tensorflow = pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs tensorflow")


def run(part: str) -> list[list[list[str]]]:
    """The rows of each table that `python -m benchmarks.<part> --quick` prints, without the head."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{part}", "--quick"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    tables = re.findall(r"(?:^\|.*\n)+", done.stdout, re.MULTILINE)
    return [[[cell.strip() for cell in row.split("|")[1:-1]] for row in one.splitlines()[2:]] for one in tables]


def test_an_aim_is_judged_by_the_worst_figure() -> None:
    faster, smaller = Aim("speed", 3, 5, "x", is_least=True), Aim("size", 70, 50, " MB")
    assert faster.verdict([7, 5]) == "met, both"
    assert faster.verdict([7, 4.9]) == "met, the first"
    assert faster.verdict([7, 2.9]) == "missed"
    assert smaller.verdict([50]) == "met, both"
    assert smaller.verdict([40, 50.1]) == "met, the first"
    assert smaller.verdict([70.1]) == "missed"
    assert smaller.verdict([]) == "not measured"
    assert faster.row({"(3 s)": 4.04, "(60 s)": 2.5}) == [
        "speed", "at least 3x", "5x", "4.04x (3 s), 2.5x (60 s)", "missed",
    ]  # fmt: skip


def test_the_aims_are_read_from_what_is_printed() -> None:
    features = """\
| descriptors | clip | peer | tonelight | peer's cost | peer / tonelight | peer / as on the board |
| --- | --- | --- | --- | --- | --- | --- |
| MFCC + energy | 3 s | python_speech_features | 0.5 ms | 2 ms | 5.2x | 2x |
| MFCC + energy | 8 s | python_speech_features | not installed |  |  |  |
| MFCC + RMS + ZCR | 3 s | librosa | 0.4 ms | 1 ms | 3.5x | 1x |
| MFCC + RMS + ZCR + pitch | 3 s | librosa, with yin | 0.4 ms | 1 ms | 9.9x | 1x |

| blocks of | CPU per second of audio | against the whole clip at once |
| --- | --- | --- |
| 20 ms | 2.00 ms | 1.58x |
"""
    memory = """\
|  | adds | then resident | of which pages of files |
| --- | --- | --- | --- |
| numpy | +16.7 MB | 25.9 MB | 12.9 MB |
| PortAudio, for a microphone | +5.0 MB | 64.0 MB | 40.1 MB |
| the plugins of this system's ALSA | +15.0 MB | 79.0 MB | 50.1 MB |
"""
    bench = {"memory": 49.0, "start": 1.2, "share_of_core": 0.3, "daemon_share_of_core": 0.6, "microphone": 2.0}
    bench |= {"event_after_hangover": 36.0, "event_after_hangover_20": 16.0}
    told = aims_table(bench, {"features": features, "memory": memory})
    told = {row[0]: row[3:] for row in ([c.strip() for c in line.split("|")[1:-1]] for line in told.splitlines()[2:])}
    assert len(told) == len(AIMS)
    assert told[AIMS["psf"].what] == ["5.2x (3 s)", "met, both"]
    assert told[AIMS["librosa"].what] == ["3.5x (3 s)", "missed"]
    assert told[AIMS["streamed"].what] == ["1.58x", "met, the first"]
    assert told[AIMS["memory"].what] == [
        "49 MB (a recording, log and health file, no light), 54 MB (and what PortAudio adds), "
        "69 MB (and what the plugins of this ALSA add)",
        "met, the first",
    ]
    assert told[AIMS["share_of_core"].what] == [
        "0.3% (the pipeline alone), 0.6% (the whole daemon, with a recording, log and health file), "
        "0.8% (and what a microphone's sound needs before)",
        "met, the first",
    ]
    assert told[AIMS["start"].what] == ["1.2 s", "missed"]
    assert told[AIMS["event_after_hangover"].what] == ["36 ms (blocks of 40 ms), 16 ms (of 20 ms)", "met, the first"]
    assert told[AIMS["usual"].what] == ["", "not measured"]


def test_the_floor_is_below_what_is_measured() -> None:
    """Nothing can be faster than the processor; but some multiply numbers of 8 bits quicker than those of the floor."""
    rows, profile = run("floor")
    assert [re.split("[:,]", row[0])[0] for row in rows] == [
        "offset", "features", "of these", "features", "model", "model",
    ]  # fmt: skip
    assert number(rows[-1][4]) == pytest.approx(number(rows[-2][4]) / 2, abs=0.001)
    shares = [number(row[1]) for row in profile]
    assert len(shares) == 10
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) < 100
    assert any("_raw_fft" in row[0] for row in profile)
    for row in rows:
        assert number(row[3]) > 0
        assert row[0].startswith("model") or number(row[3]) < number(row[4])


def test_memory_adds_up() -> None:
    (rows,) = run("memory")
    assert len(rows) >= 7
    assert sum(number(row[1]) for row in rows) == pytest.approx(number(rows[-1][2]), abs=0.1 * len(rows))
    assert all(0 < number(row[3]) <= number(row[2]) for row in rows)


def test_a_day_in_short() -> None:
    (rows,) = run("length")
    assert [row[0] for row in rows] == [f"minute {n}" for n in (1, 2, 6, 12, 24)]
    # memory does not grow: a day of it would be thousands of megabytes if anything were kept
    assert all(number(row[3]) < 5 for row in rows)


def test_all_that_bench_says_stands_in_the_table_of_machines() -> None:
    here = {"figures": {"start": {"what": "start", "value": 0.7071, "unit": "s"}}}
    here |= dict.fromkeys(("machine", "python", "numpy", "runtime", "bundle"), "x")
    assert "| start (s) | 0.707 | not measured | not measured | not measured | not measured |" in _machines(here)
    assert (ROOT / "benchmarks" / "boards").is_dir()  # where its command says that a board's column comes from


@pytest.mark.slow
def test_features_beside_other_libraries() -> None:
    peers, by_block, by_hop = run("features")
    assert {row[2] for row in peers} >= {"python_speech_features", "librosa", "kaldi-native-fbank (C++)"}
    assert [row[1] for row in peers] == ["3 s"] * 5 + ["8 s"] * 5
    for row in peers:
        assert row[3] == "not installed" or min(number(cell) for cell in row[3:]) > 0
    assert "not installed" not in {row[3] for row in peers if "librosa" in row[2]}  # it is among the tools of the tests
    assert by_block[0][2] == "1.00x"
    assert len(by_block) == 9
    assert [row[0] for row in by_hop] == ["5 ms", "10 ms", "20 ms"]


@pytest.mark.slow
@needs_tensorflow
def test_the_model_beside_other_runtimes() -> None:
    (rows,) = run("model")
    assert len(rows) == 8
    assert rows[0][2] == "1.0x"
    assert sum("ai-edge-litert's interpreter" in row[0] for row in rows) == 1
    assert min(number(row[1]) for row in rows if row[1] != "not installed") > 0


@pytest.mark.slow
@needs_tensorflow
def test_the_path_beside_the_usual_way() -> None:
    usual, by_block, by_microphones = run("path")
    assert [row[2] for row in (usual[0], by_microphones[0])] == ["1x", "1.00x"]
    assert len(usual) == 3
    assert "20 ms" in [row[0] for row in by_block]
    assert [row[0] for row in by_microphones] == ["1", "2", "4", "8"]
