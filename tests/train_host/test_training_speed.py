"""The benchmark of training runs and writes what it promises; how fast it is, no test says."""

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("keras")

from benchmarks.training import document, some

ROOT = Path(__file__).parents[2]


def test_some_clips_of_every_corpus(clips):
    both = [*clips, *(replace(clip, corpus="other") for clip in clips[:24])]
    few = some(both, 12)
    assert [clip.corpus for clip in few].count("voices") == 8
    assert [clip.corpus for clip in few].count("other") == 4
    assert len({clip.path for clip in few[:4]}) == 4
    # two of the smallest, and all where there are no more
    assert [clip.corpus for clip in some([*clips, *both[-3:]], 3)].count("other") == 2
    assert sorted(clip.path for clip in some(clips, 1000)) == sorted(clip.path for clip in clips)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs tensorflow")
def test_the_figures_of_a_training(voices, tmp_path):
    out = tmp_path / "training.md"
    command = [sys.executable, "-m", "benchmarks.training", "--quick", "--corpora", str(voices), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = out.read_text()
    assert len(list((tmp_path / "training").iterdir())) == 1
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if line.startswith("|")]
    first, second = (next(row for row in rows if row[0].startswith(f"{name} run")) for name in ("first", "second"))
    assert float(second[1].split()[0]) < float(first[1].split()[0])
    assert re.fullmatch(r"[\d.]+ s, \d+x as fast", second[1])
    (waited,) = (row[1] for row in rows if row[0].startswith("of that, waited"))
    assert 0 <= int(re.fullmatch(r"[\d.]+ ms, (\d+)%", waited)[1]) <= 100
    (epoch,) = (row for row in rows if row[0].startswith("as many examples as 48 clips"))
    assert epoch[1].endswith(" s")


def test_without_corpora_one_line(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TONELIGHT_CORPORA"}
    command = [sys.executable, "-m", "benchmarks.training", "--out", str(tmp_path / "training.md")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "benchmarks.training: no corpora: name their folder by --corpora DIR or by the environment variable "
        "TONELIGHT_CORPORA\n"
    )
    assert not list(tmp_path.iterdir())


TRAINED = {
    "backend": "tensorflow",
    "device": "a processor, 2 cores",
    "is_quick": False,
    "load": [0.4, 2.4],
    "n_clips": 400,
    "corpora": "ravdess, savee",
    "n_views": 1,
    "hours": 0.5,
    "n_segments": 754,
    "cache_mb": 15.0,
    "first_s": 20.0,
    "second_s": 0.2,
    "is_gpu": False,
    "is_cudnn": False,
    "batch_size": 64,
    "crop_frames": 240,
    "n_rounds": 7,
    "n_steps": 25,
    "n_threads": 1,
    "step_s": 0.2,
    "waited_s": 0.0,
    "ready_s": 0.2,
    "batch_s": 0.05,
    "ahead_s": 0.05,
    "n_all": 10936,
    "n_epoch": 338,
    "n_whole": 3000,
}


def test_what_training_costs_without_a_gpu() -> None:
    text = document([TRAINED])
    assert "- a processor, 2 cores, tensorflow: load 0.4 and 2.4\n" in text
    assert "| first run: everything is computed | 20.0 s |" in text
    assert "| second run: everything is read | 0.20 s, 100x as fast |" in text
    assert "| the LSTM is computed by | Keras' own loop |" in text
    assert "| a whole training: 3000 steps | 10 min |" in text
    assert "**On a GPU: not measured**" in text


def test_what_training_costs_on_a_gpu_is_told_against_the_processor() -> None:
    gpu = {"device": "a GPU", "is_gpu": True, "is_cudnn": True, "step_s": 0.008, "waited_s": 0.002, "n_threads": 8}
    text = document([TRAINED, TRAINED | gpu])
    assert "| the LSTM is computed by | Keras' own loop | cuDNN |" in text
    assert "| the same against a processor, 2 cores, tensorflow | 1.0x as fast | 25.0x as fast |" in text
    assert "| 0.0 ms, 0% | 2.0 ms, 25% |" in text
    assert "not measured" not in text
