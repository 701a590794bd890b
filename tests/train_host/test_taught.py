"""From the board to the workstation and back: clips that a daemon kept, exported, are what `tonelight-train` takes."""

import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

keras = pytest.importorskip("keras")

from rich.console import Console  # noqa: E402

from edge.capture import CaptureSwitch  # noqa: E402
from edge.clips import Clips  # noqa: E402
from edge.config import demo_path  # noqa: E402
from train_host.adapt import adapt, load_personal, read_clips  # noqa: E402
from train_host.cli import main  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo recording left behind on a board, named happy and sad in turn."""
    home = tmp_path_factory.mktemp("board")
    CaptureSwitch(home / "capture").set(600)
    environ = os.environ | {
        "STATE_DIRECTORY": str(home),
        "RUNTIME_DIRECTORY": str(home / "run"),
        "XDG_CONFIG_HOME": str(home / "config"),
    }
    command = [sys.executable, "-m", "edge", "run", "--source", str(demo_path()), "--fast"]
    subprocess.run(command, env=environ, check=True, capture_output=True)
    clips = Clips(home / "clips")
    kept = clips.all()
    assert len(kept) >= 4, "the demo speaks six phrases, and a model may take one for noise"
    for n, clip in enumerate(kept):
        clips.label(clip.id, "happy" if n % 2 else "sad")
    clips.export(home / "mine")
    return home / "mine"


@pytest.mark.parametrize("what", ["summary", "verify"])
def test_the_workstation_takes_the_export_as_it_is(exported, capsys, what):
    assert main(["data", "--corpora", str(exported), what]) == 0
    out = capsys.readouterr().out
    assert "mine" in out
    heard = len(read_clips(exported / "manifest.csv"))
    assert f"mine: {heard} clips" in out or what == "summary"
    assert "unknown label" not in out and "bad row" not in out


def test_a_run_is_adapted_to_them(exported, run, few_steps, tmp_path):
    clips = read_clips(exported / "manifest.csv")
    named = Counter(clip.emotion for clip in clips)
    assert set(named) == {"happy", "sad"} and min(named.values()) >= 2
    adapt(run, clips, tmp_path / "adapted", Console(file=io.StringIO()))
    personal = load_personal(tmp_path / "adapted")
    assert personal is not None and personal.clips == named
