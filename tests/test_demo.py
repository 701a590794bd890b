"""The demo recording that comes with the package: fit for the pipeline, and what its script renders."""

import importlib.resources
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

DEMO = Path(str(importlib.resources.files("edge") / "data" / "demo.flac"))
SCRIPT = Path(__file__).parents[1] / "examples" / "make_demo.py"


def levels_db(samples: np.ndarray) -> np.ndarray:
    """Root mean square of each tenth of a second, in dB below full scale."""
    tenths = samples[: samples.size // 1600 * 1600].reshape(-1, 1600).astype(np.float64)
    return 10 * np.log10(np.mean(tenths**2, axis=1) + 1e-12)


def test_demo_is_small_mono_and_16_khz() -> None:
    about = soundfile.info(DEMO)
    assert (about.samplerate, about.channels, about.format, about.subtype) == (16000, 1, "FLAC", "PCM_16")
    assert 20 <= about.duration <= 26
    assert DEMO.stat().st_size < 600_000


def test_demo_is_neither_clipped_nor_offset() -> None:
    samples, _ = soundfile.read(DEMO, dtype="float32")
    assert 0.5 < np.abs(samples).max() < 0.9
    assert abs(samples.mean()) < 1e-3


def test_demo_starts_with_the_room_and_then_holds_six_phrases_with_pauses() -> None:
    levels = levels_db(soundfile.read(DEMO, dtype="float32")[0])
    assert np.all(np.abs(levels[:10] + 58) < 3), "the first second is the room's noise"
    loud = levels > -50
    assert 0.4 < loud.mean() < 0.7
    # phrases are what lies between quiet stretches of 0.8 s and more (sentences within a phrase are closer together)
    starts, ends = (np.flatnonzero(np.diff(loud.astype(int)) == step) + 1 for step in (1, -1))
    pauses = starts[1:] - ends[:-1]
    assert np.count_nonzero(pauses >= 8) + 1 == 6
    assert levels.size - ends[-1] >= 12, "enough silence at the end for the last phrase to be finished"


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_script_renders_the_demo(tmp_path: Path) -> None:
    rendered = tmp_path / "demo.flac"
    subprocess.run([sys.executable, str(SCRIPT), str(rendered)], check=True, stdout=subprocess.DEVNULL)
    (ours, _), (kept, _) = (soundfile.read(path, dtype="float32") for path in (rendered, DEMO))
    with soundfile.SoundFile(rendered) as mine, soundfile.SoundFile(DEMO) as theirs:
        same_voice = mine.comment == theirs.comment
    if same_voice:
        np.testing.assert_allclose(ours, kept, atol=1e-3)
    else:  # another espeak-ng speaks a little differently: as long, as loud
        assert abs(ours.size / kept.size - 1) < 0.1
        assert abs(np.sqrt(np.mean(ours**2)) / np.sqrt(np.mean(kept**2)) - 1) < 0.1


def test_script_says_what_it_lacks_in_one_line(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "demo.flac")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert run.stderr == "make_demo: espeak-ng is missing; sudo apt install espeak-ng\n"
    assert list(tmp_path.iterdir()) == []
