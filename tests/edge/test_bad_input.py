"""Everything that people feed it: one clear line that names the thing, the right exit status, and never a traceback."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from edge.bundle import default_bundle_path
from edge.cli import main
from edge.config import demo_path

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """The first stretches of speech of the demo recording, shape (n,)."""
    samples, rate_hz = soundfile.read(demo_path(), frames=9 * RATE_HZ, dtype="float32")
    assert rate_hz == RATE_HZ
    return samples


@pytest.fixture
def heard(home: Path, speech: np.ndarray, capsys: pytest.CaptureFixture[str]) -> list[dict]:
    """What `listen --json` says of `speech` as it is."""
    return answers(capsys, write(home, "plain.wav", speech))


def write(folder: Path, name: str, samples: np.ndarray, rate_hz: int = RATE_HZ, subtype: str | None = None) -> Path:
    soundfile.write(folder / name, samples, rate_hz, subtype=subtype)
    return folder / name


def answers(capsys: pytest.CaptureFixture[str], file: Path, complaint: str = "") -> list[dict]:
    """The events of a file that can be read; all that may be said besides is one warning."""
    status = main(["listen", "--json", str(file)])
    out, err = capsys.readouterr()
    assert status == 0
    if complaint:
        assert err.count("\n") == 1
        assert err.startswith("tonelight: ")
        assert complaint in err
    else:
        assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def one_line(capsys: pytest.CaptureFixture[str], argv: list[str], *named: str) -> None:
    """The command fails with 1 and one line on stderr that names all of `named`, and says nothing else."""
    status = main(argv)
    out, err = capsys.readouterr()
    assert status == 1
    assert out == ""
    assert err.startswith("tonelight: ")
    assert err.count("\n") == 1 and err.endswith("\n")
    for name in named:
        assert name in err


# Recordings that can be read, one way or another ----------------------------------------------------------------------


def times_s(events: list[dict]) -> list[float]:
    return [event[key] for event in events[:-1] for key in ("start_s", "end_s")]


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "PCM_24"), ("a.wav", "FLOAT"), ("a.wav", "DOUBLE"), ("a.wav", "PCM_32"), ("a.flac", None)],
)
def test_formats_that_lose_nothing_give_the_same_answer(home, speech, heard, capsys, name, subtype):
    events = answers(capsys, write(home, name, speech, subtype=subtype))
    assert [{**event, "file": ""} for event in events] == [{**event, "file": ""} for event in heard]


def test_stereo_gives_the_same_answer(home, speech, heard, capsys):
    events = answers(capsys, write(home, "a.wav", np.stack([speech, speech], axis=1)))
    assert [{**event, "file": ""} for event in events] == [{**event, "file": ""} for event in heard]


def test_8_bit_is_heard(home, speech, heard, capsys):
    *segments, whole = answers(capsys, write(home, "a.wav", speech, subtype="PCM_U8"))
    assert segments
    assert whole["seconds"] == heard[-1]["seconds"]


@pytest.mark.parametrize("rate_hz", [22_050, 44_100, 48_000, 96_000, 192_000])
def test_higher_rates_find_the_same_speech(home, speech, heard, capsys, rate_hz):
    events = answers(capsys, write(home, "a.wav", soxr.resample(speech, RATE_HZ, rate_hz), rate_hz))
    assert times_s(events) == pytest.approx(times_s(heard), abs=0.05)
    assert [event["label"] for event in events] == [event["label"] for event in heard]


def test_8_khz_is_heard(home, speech, heard, capsys):
    *segments, whole = answers(capsys, write(home, "a.wav", soxr.resample(speech, RATE_HZ, 8000), 8000))
    assert segments
    assert whole["seconds"] == pytest.approx(heard[-1]["seconds"], abs=0.01)


@pytest.mark.parametrize("rate_hz", [1000, 768_000])
def test_absurd_rates_are_refused(home, capsys, rate_hz):
    file = write(home, "a.wav", np.zeros(rate_hz, np.float32), rate_hz)
    one_line(capsys, ["listen", str(file)], str(file), f"{rate_hz} Hz")


def test_silence_holds_no_speech(home, capsys):
    (whole,) = answers(capsys, write(home, "a.wav", np.zeros(3 * RATE_HZ, np.float32)))
    assert (whole["label"], whole["segments"], whole["confidence"], whole["uncertain"]) == (None, 0, 0, True)
    assert main(["listen", str(home / "a.wav")]) == 0
    assert "no speech was found" in capsys.readouterr().out


def test_a_few_samples_hold_no_speech(home, capsys):
    (whole,) = answers(capsys, write(home, "a.wav", np.full(3, 0.1, np.float32)))
    assert (whole["label"], whole["seconds"]) == (None, 0.0)


def test_clipping_is_heard_and_said(home, speech, capsys):
    file = write(home, "a.wav", np.clip(speech * 20 / np.abs(speech).max(), -1, 1))
    *segments, _ = answers(capsys, file, f"{file}: ")
    assert segments


def test_a_truncated_file_is_heard_as_far_as_it_goes_and_said(home, speech, capsys):
    file = write(home, "a.wav", speech)
    os.truncate(file, 44 + 2 * 5 * RATE_HZ)
    *_, whole = answers(capsys, file, f"{file} is cut short")
    assert whole["seconds"] == 5.0


def test_a_long_recording_is_heard_to_its_end(home, capsys):
    samples, rate_hz = soundfile.read(demo_path(), dtype="float32")
    n_times = 7
    *segments, whole = answers(capsys, write(home, "a.wav", np.tile(samples, n_times), rate_hz))
    assert whole["seconds"] == pytest.approx(n_times * len(samples) / rate_hz, abs=0.002)
    assert segments[-1]["end_s"] > whole["seconds"] - len(samples) / rate_hz
    assert len(segments) >= n_times


# Recordings that cannot be read ---------------------------------------------------------------------------------------


def empty(folder: Path, speech: np.ndarray) -> Path:
    (folder / "a.wav").touch()
    return folder / "a.wav"


def header_only(folder: Path, speech: np.ndarray) -> Path:
    return write(folder, "a.wav", speech[:0])


def text(folder: Path, speech: np.ndarray) -> Path:
    (folder / "a.wav").write_text("Dear diary,\n" * 100)
    return folder / "a.wav"


def junk(folder: Path, speech: np.ndarray) -> Path:
    (folder / "a.mp3").write_bytes(np.random.default_rng(0).bytes(20_000))
    return folder / "a.mp3"


def half_a_header(folder: Path, speech: np.ndarray) -> Path:
    os.truncate(write(folder, "a.wav", speech), 20)
    return folder / "a.wav"


def directory(folder: Path, speech: np.ndarray) -> Path:
    (folder / "a.wav").mkdir()
    return folder / "a.wav"


def missing(folder: Path, speech: np.ndarray) -> Path:
    return folder / "a.wav"


def fifo(folder: Path, speech: np.ndarray) -> Path:
    os.mkfifo(folder / "a.wav")
    return folder / "a.wav"


def not_a_number(folder: Path, speech: np.ndarray) -> Path:
    speech = speech.copy()
    speech[100] = np.nan
    return write(folder, "a.wav", speech, subtype="FLOAT")


def infinite(folder: Path, speech: np.ndarray) -> Path:
    speech = speech.copy()
    speech[100] = -np.inf
    return write(folder, "a.wav", speech, subtype="FLOAT")


UNREADABLE = [empty, header_only, text, junk, half_a_header, directory, missing, fifo, not_a_number, infinite]


@pytest.mark.parametrize("make", UNREADABLE)
def test_listen_says_what_is_wrong_with_a_file(home, speech, capsys, make: Callable[[Path, np.ndarray], Path]):
    file = make(home, speech)
    one_line(capsys, ["listen", str(file)], str(file))


@pytest.mark.parametrize("make", UNREADABLE)
def test_listen_json_says_it_in_an_event(home, speech, capsys, make: Callable[[Path, np.ndarray], Path]):
    file = make(home, speech)
    assert main(["listen", "--json", str(file)]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    event = json.loads(out)
    assert list(event) == ["event", "file", "error"]
    assert (event["event"], event["file"]) == ("error", str(file))
    assert str(file) in event["error"] and "\n" not in event["error"]


@pytest.mark.parametrize("make", UNREADABLE)
def test_run_says_what_is_wrong_with_a_file(home, speech, capsys, make: Callable[[Path, np.ndarray], Path]):
    file = make(home, speech)
    one_line(capsys, ["run", "--source", str(file)], str(file))


def test_a_fault_late_in_a_recording_keeps_what_was_heard_before(home, speech, heard, capsys):
    file = write(home, "a.wav", np.append(np.tile(speech, 2), np.float32(np.nan)), subtype="FLOAT")
    assert main(["listen", "--json", str(file)]) == 1
    *before, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert times_s(before)[: len(times_s(heard)) - 2] == times_s(heard)[:-2]
    assert last["event"] == "error"
    assert "is not a number" in last["error"]
    assert main(["run", "--fast", "--source", str(file)]) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith(f"tonelight: {file}: ")


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that everybody may enter, with a copy of the bundle; it is the home of the test, too."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
        monkeypatch.setenv("STATE_DIRECTORY", str(folder))
        shutil.copytree(default_bundle_path(), folder / "bundle")
        (folder / "mine.toml").write_text("[model]\nbundle = 'bundle'")
        yield folder


@contextmanager
def as_nobody() -> Iterator[None]:
    """To root nothing is forbidden: be somebody else for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("name", ["a.wav", "mine.toml", "bundle/model.tflite", "bundle/manifest.json"])
def test_without_permission(readable, speech, capsys, name):
    file = write(readable, "a.wav", speech)
    argv = ["listen", "--config", str(readable / "mine.toml"), str(file)]
    assert main(argv) == 0  # and everything that is needed is loaded
    capsys.readouterr()
    (readable / name).chmod(0)
    with as_nobody():
        one_line(capsys, argv, str(readable / name), "Permission denied")


def test_the_real_program_says_no_more_than_that_line(home, speech):
    files = [str(make(home, speech)) for make in (text, junk)]
    done = subprocess.run([sys.executable, "-m", "edge", "listen", *files], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.split(" ")[:2] for line in done.stderr.splitlines()] == [["tonelight:", file] for file in files]


# Bundles --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(home: Path) -> Path:
    """A copy of the bundle, to be damaged; `mine.toml` asks for it."""
    shutil.copytree(default_bundle_path(), home / "bundle")
    (home / "mine.toml").write_text("[model]\nbundle = 'bundle'")
    return home / "bundle"


def change_manifest(bundle: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def gone(bundle: Path) -> str:
    shutil.rmtree(bundle)
    return str(bundle)


def a_file(bundle: Path) -> str:
    shutil.rmtree(bundle)
    bundle.write_text("")
    return str(bundle)


def no_manifest(bundle: Path) -> str:
    (bundle / "manifest.json").unlink()
    return "manifest.json"


def no_model(bundle: Path) -> str:
    (bundle / "model.tflite").unlink()
    return "model.tflite"


def truncated_model(bundle: Path) -> str:
    os.truncate(bundle / "model.tflite", 10_000)
    return "model.tflite"


def truncated_manifest(bundle: Path) -> str:
    os.truncate(bundle / "manifest.json", 500)
    return "manifest.json"


def another_schema(bundle: Path) -> str:
    change_manifest(bundle, lambda manifest: manifest.update(schema="tonelight-bundle/99"))
    return "schema"


def unknown_setting(bundle: Path) -> str:
    change_manifest(bundle, lambda manifest: manifest["features"].update(n_mfcs=13))
    return "n_mfcs"


def missing_setting(bundle: Path) -> str:
    change_manifest(bundle, lambda manifest: manifest["gate"].pop("hangover_ms"))
    return "hangover_ms"


def other_labels(bundle: Path) -> str:
    change_manifest(bundle, lambda manifest: manifest["labels"].pop())
    return str(bundle)


def other_features(bundle: Path) -> str:
    """Right hashes, right shapes, and yet not what the model was trained on: the golden signal tells."""
    change_manifest(bundle, lambda manifest: manifest["features"].update(f_max_hz=4000))
    return "golden signal"


BROKEN = [
    *(gone, a_file, no_manifest, no_model, truncated_model, truncated_manifest),
    *(another_schema, unknown_setting, missing_setting, other_labels, other_features),
]


@pytest.mark.parametrize("damage", BROKEN)
@pytest.mark.parametrize("command", ["listen", "run"])
def test_a_bundle_that_cannot_be_used(home, bundle, capsys, command, damage: Callable[[Path], str]):
    named = damage(bundle)
    source = [str(demo_path())] if command == "listen" else ["--fast", "--source", str(demo_path())]
    one_line(capsys, [command, "--config", str(home / "mine.toml"), *source], named)


def test_an_activated_bundle_that_is_gone_is_not_silently_replaced(home, capsys):
    (home / "state" / "models").mkdir(parents=True)
    (home / "state" / "models" / "active").symlink_to("tonelight-9.9.9")
    one_line(capsys, ["listen", str(demo_path())], f"{home}/state/models/tonelight-9.9.9")


# Configurations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[audio]\ndevise = 'USB'", "audio.devise"),
        ("[audio]\nblock_ms = '20'", "audio.block_ms"),
        ("[leds]\nkind = 'rgb'\npins = { red = 40, green = 27, blue = 22 }", "leds.pins.red"),
        ("[leds]\nkind = 'pins'\npins = { hapy = 17 }", "leds.pins.hapy"),
        ("node = oops\n", "line 1"),
    ],
)
@pytest.mark.parametrize(
    "argv",
    [
        ["config", "check"],
        ["config", "show"],
        ["run", "--source", str(demo_path())],
        ["listen", str(demo_path())],
        ["history"],
        ["leds", "test"],
        ["devices"],
    ],
)
def test_a_configuration_that_cannot_be_used(home, capsys, argv, text, named):
    (home / "mine.toml").write_text(text)
    one_line(capsys, [*argv, "--config", str(home / "mine.toml")], f"{home}/mine.toml: ", named)
