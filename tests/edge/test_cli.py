"""The commands as they are typed: what they print, where, and with which exit status."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import audio_files
import numpy as np
import pytest
import soundfile
from observed import health

from edge import config
from edge.bundle import default_bundle_path, load_bundle
from edge.cli import build_parser, main
from edge.commands.leds import show_all
from edge.config import Config
from edge.events import Detection
from edge.health import HealthFile
from edge.history import Event, History
from edge.labels import EMOTIONS
from edge.leds import CAPTURING, NAMES, Lights, RecordingLight

TONELIGHT = [sys.executable, "-m", "edge"]
COMMANDS = ["run", "listen", "devices", "leds", "doctor", "bench", "config", "history"]


@pytest.fixture
def heard(home: Path) -> list[Event]:
    """A log with one event a day, the last one an hour ago."""
    now = datetime.now(timezone.utc) - timedelta(hours=1)
    events = [
        Event.from_detection(
            Detection(1.0, 2.5, label, 0.5, dict.fromkeys(EMOTIONS, 0.125), label == "sad", 0.25),
            node="kitchen",
            model="m-1",
            latency_ms=300.0,
            now=now - timedelta(days=days),
            mono_s=5.0,
        )
        for days, label in ((2, "happy"), (1, "sad"), (0, "angry"))
    ]
    log = History(home / "state" / "history.db", max_mb=1, max_days=365)
    for event in events:
        log.write(event)
    log.close()
    return events


# The program ----------------------------------------------------------------------------------------------------------


def test_help_and_config_check_do_without_numpy_and_audio(home):
    code = (
        "import sys; from edge.cli import build_parser, main; build_parser().format_help(); main(['config', 'check']);"
        "heavy = {'numpy', 'soundfile', 'sounddevice', 'soxr', 'ai_edge_litert', 'sqlite3'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_names_every_command_and_every_command_has_an_example(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n    {name} " in text
        with pytest.raises(SystemExit):
            build_parser().parse_args([name, "--help"])
        assert f"examples:\n  tonelight {name}" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == "tonelight 0.1.0\n"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["dance"],
        ["listen"],
        ["leds"],
        ["config", "burn"],
        ["history", "--json", "--csv"],
        ["run", "--fast"],
        ["run", "--sorce", "x.wav"],
    ],
)
def test_wrong_usage_is_2(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert "usage: tonelight" in capsys.readouterr().err


def test_a_reader_that_goes_away_leaves_no_traceback(home):
    process = subprocess.Popen([*TONELIGHT, "config", "show"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_an_interrupted_command_is_130(home):
    process = subprocess.Popen([*TONELIGHT, "leds", "test"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline().startswith(b"neutral")
    process.send_signal(signal.SIGINT)
    err = process.communicate()[1]
    assert (process.returncode, err) == (130, b"")


# config ---------------------------------------------------------------------------------------------------------------


def test_config_check_names_the_file(home, capsys):
    file = home / "mine.toml"
    file.write_text("node = 'kitchen'")
    assert main(["config", "check", "--config", str(file)]) == 0
    assert capsys.readouterr().out == f"ok: {file}\n"


def test_config_check_without_a_file_says_where_it_would_be(home, capsys):
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out == f"ok: no {home}/config/tonelight/config.toml, everything has its default\n"


def test_config_check_prints_the_mistake(home, capsys):
    file = home / "mine.toml"
    file.write_text("nod = 'kitchen'")
    assert main(["config", "check", "--config", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"tonelight: {file}: unknown key nod (did you mean node?); ")
    assert err.count("\n") == 1


def test_what_config_show_prints_is_a_configuration(home, capsys):
    assert main(["config", "show"]) == 0
    file = home / "shown.toml"
    file.write_text(capsys.readouterr().out)
    assert config.load(file) == Config()


# history --------------------------------------------------------------------------------------------------------------


def test_history_as_a_table(heard, capsys):
    assert main(["history"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["time", "activation", "tone", "sure", "length", "device"]
    assert [line.split()[2:5] for line in lines] == [["low", "75%", tone] for tone in ("happy", "sad", "angry")]
    assert lines[1].endswith("1.5 s  kitchen  (uncertain)")


def test_history_since(heard, capsys):
    assert main(["history", "--since", "30h", "--json"]) == 0
    assert [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()] == ["sad", "angry"]


def test_history_as_csv(heard, capsys):
    assert main(["history", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["label"] for row in rows] == ["happy", "sad", "angry"]
    assert rows[0]["ts"] == heard[0].ts


def test_history_of_a_quiet_time(heard, capsys):
    assert main(["history", "--since", "1s"]) == 0
    assert capsys.readouterr().out == "nothing was heard in that time\n"


@pytest.mark.parametrize("since", ["tomorrowish", "2026-99-01", ""])
def test_history_since_when(heard, since, capsys):
    assert main(["history", "--since", since]) == 1
    assert capsys.readouterr().err.startswith(f'tonelight: "{since}" is no time since when: write ')


def test_history_before_the_first_run(home, capsys):
    assert main(["history"]) == 1
    assert capsys.readouterr().err == (
        f"tonelight: {home}/state/history.db: there is no log yet; `tonelight run` begins one\n"
    )


# devices and leds -----------------------------------------------------------------------------------------------------


def microphones(home: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """`tonelight devices` where ALSA knows a desk microphone and nothing else."""
    pytest.importorskip("sounddevice", exc_type=OSError, reason="needs PortAudio")
    environ = audio_files.write_microphone(home, np.zeros((1000, 2), np.float32))
    return subprocess.run([*TONELIGHT, "devices", *argv], env=os.environ | environ, capture_output=True, text=True)


def test_devices_marks_the_one_that_is_used(home):
    done = microphones(home)
    assert (done.returncode, done.stderr) == (0, "")
    marked = {line[3:].partition("  ")[0]: line[:2] for line in done.stdout.splitlines()}
    assert marked["desk microphone"] == "  "
    assert marked["default"] == "->"


def test_devices_marks_the_one_that_is_configured(home):
    (home / "mine.toml").write_text("[audio]\ndevice = 'Desk'")
    done = microphones(home, "--config", str(home / "mine.toml"))
    assert (done.returncode, done.stderr) == (0, "")
    assert [line[:18] for line in done.stdout.splitlines() if line.startswith("->")] == ["-> desk microphone"]


def test_devices_lists_what_there_is_before_it_complains(home):
    (home / "mine.toml").write_text("[audio]\ndevice = 'studio'")
    done = microphones(home, "--config", str(home / "mine.toml"))
    assert done.returncode == 1
    assert "desk microphone" in done.stdout and "->" not in done.stdout
    assert done.stderr.startswith("tonelight: no microphone is called 'studio'")


def test_without_portaudio_devices_says_what_to_install(home):
    # an empty search path hides the system's library from ctypes.util.find_library, as on a machine that lacks it
    code = (
        "import ctypes.util, sys; find = ctypes.util.find_library;"
        "ctypes.util.find_library = lambda name: None if 'portaudio' in name else find(name);"
        "from edge.cli import main; sys.exit(main(['devices']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "tonelight: microphones need PortAudio, which is missing; sudo apt install libportaudio2\n"


def test_leds_test_shows_and_announces_everything():
    light, said = RecordingLight(), []
    show_all(Lights(light), said.append, each_s=0.05, colours={"sad": "#112233"})
    assert light.names == list(NAMES[:-1])  # the last one, off, is how it ends
    assert {text.replace(":", ",").partition(",")[0] for text in said} == {*NAMES[:-1], CAPTURING}
    assert {look.is_capturing for look in light.history} == {False, True}
    assert not light.history[-1].is_capturing
    assert "angry: orange-red, quick blinking" in said and "sad: #112233, fading away" in said
    assert [text for text in said if "voice" in text and "quickly" in text] != []


def test_leds_test_without_a_light(home, capsys):
    (home / "mine.toml").write_text("[leds]\nkind = 'none'")
    assert main(["leds", "test", "--config", str(home / "mine.toml")]) == 0
    assert capsys.readouterr().out == 'leds.kind = "none": there is no light to test\n'


def test_leds_test_does_not_take_the_light_from_a_running_daemon(home, capsys, monkeypatch):
    monkeypatch.setattr("edge.commands.leds.open_backend", lambda settings: pytest.fail("taken from the daemon"))
    HealthFile(config.health_path()).on_health(health())
    (home / "mine.toml").write_text("[leds]\nkind = 'rgb'")
    assert main(["leds", "test", "--config", str(home / "mine.toml")]) == 1
    assert capsys.readouterr().err == (
        f"tonelight: tonelight runs (process {os.getpid()}), and its light would be dark after the test; "
        "stop it first: sudo systemctl stop tonelight, or Ctrl-C where it was started by hand\n"
    )


# listen ---------------------------------------------------------------------------------------------------------------


def listened(capsys, *argv: str) -> list[dict]:
    main(["listen", "--json", *argv])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_listen_json_is_what_is_promised(home, capsys):
    demo = str(config.demo_path())
    labels = set(load_bundle(default_bundle_path()).labels)
    *segments, whole = listened(capsys, demo)
    assert segments
    for segment in segments:
        assert list(segment) == [
            *("event", "file", "start_s", "end_s", "label", "confidence", "probs", "uncertain", "activation"),
            "model",
        ]
        assert (segment["event"], segment["file"]) == ("segment", demo)
        assert 0 <= segment["start_s"] < segment["end_s"] <= whole["seconds"]
        assert segment["label"] == max(segment["probs"], key=segment["probs"].get)
    assert list(whole) == [
        *("event", "file", "seconds", "segments", "label", "confidence", "probs", "uncertain", "activation"),
        "model",
    ]
    assert (whole["event"], whole["file"], whole["segments"]) == ("file", demo, len(segments))
    assert whole["seconds"] == pytest.approx(soundfile.info(demo).duration, abs=0.002)
    for event in [*segments, whole]:
        assert set(event["probs"]) == labels
        assert sum(event["probs"].values()) == pytest.approx(1, abs=1e-4)
        assert event["confidence"] == event["probs"][event["label"]]
        assert 0 < event["activation"] < 1
        assert event["model"] == load_bundle(default_bundle_path()).id


def test_each_file_is_heard_as_if_it_were_the_only_one(home, capsys):
    demo = str(config.demo_path())
    noise = str(audio_files.write(home / "noise.wav", audio_files.noise(2, 16_000), 16_000))
    alone = listened(capsys, demo)
    assert listened(capsys, noise, demo)[-len(alone) :] == alone


def test_a_bad_file_does_not_keep_the_others_from_being_heard(home, capsys):
    demo, bad = str(config.demo_path()), str(home / "gone.wav")
    status = main(["listen", "--json", bad, demo, bad])
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert err == ""
    assert [event["event"] for event in (events[0], events[-2], events[-1])] == ["error", "file", "error"]
    assert events[0] == {"event": "error", "file": bad, "error": f"{bad}: there is no such file"}


def test_listen_for_people(home, capsys):
    demo = str(config.demo_path())
    assert main(["listen", demo, str(home / "gone.wav")]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == len(listened(capsys, demo))
    assert all(line.startswith(demo) for line in lines)
    assert "whole" in lines[-1]
    assert err == f"tonelight: {home}/gone.wav: there is no such file\n"


def test_a_name_that_is_no_unicode_is_still_valid_json(home, capsys):
    name = os.fsdecode(bytes(home) + b"/caf\xe9.wav")
    audio_files.write(home / "plain.wav", np.zeros((16_000, 1), np.float32), 16_000).rename(name)
    (event,) = listened(capsys, name)
    assert event["file"] == f"{home}/caf\N{REPLACEMENT CHARACTER}.wav"
    assert (event["label"], event["segments"], event["probs"]) == (None, 0, {})
