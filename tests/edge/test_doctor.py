"""Each check, in the state in which it has something to say."""

import grp
import json
import os
import re
import sqlite3
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import audio_files
import numpy as np
import pytest
from web_page import event

from edge import config, doctor
from edge.bundle import default_bundle_path
from edge.capture import CaptureSwitch
from edge.cli import main
from edge.clips import Clips
from edge.doctor import Check
from edge.health import HealthFile
from edge.mute import Mute
from edge.observers import Health, Phase

CHECKS = ["python", "numpy", "runtime", "config", "model", "microphone", "light", "log", "capture", "disk", "clock"]


def checks(home: Path, text: str = "", services: tuple[str, ...] = ()) -> dict[str, Check]:
    file = home / "mine.toml"
    file.write_text(text)
    found = {check.name: check for check in doctor.examine(file)}
    assert list(found) == [*CHECKS[:-2], *services, *CHECKS[-2:]]
    for check in found.values():
        assert check.message and "\n" not in check.message
    return found


def test_a_healthy_machine_has_nothing_broken(home):
    found = checks(home)
    assert {name for name, check in found.items() if check.state == "broken"} == set()
    assert found["model"].message.startswith(f"tonelight-0.1.0 in {default_bundle_path()}: whole, and computes")
    assert found["runtime"].message.split()[0] in ("ai-edge-litert", "tflite-runtime")
    assert found["python"].message.startswith(".".join(map(str, sys.version_info[:3])))


def test_the_command_prints_a_line_for_each_check(home, capsys):
    status = main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == CHECKS
    assert status == any(line.startswith("broken") for line in lines)


def test_as_json(home, capsys):
    (home / "mine.toml").write_text("nod = 1")
    assert main(["doctor", "--json", "--config", str(home / "mine.toml")]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert [check["name"] for check in told["checks"]] == CHECKS
    broken = {check["name"]: check["message"] for check in told["checks"] if check["state"] == "broken"}
    assert broken["config"].startswith(f"{home}/mine.toml: unknown key nod (did you mean node?)")


def test_a_damaged_model_is_broken(home):
    found = checks(home, f"[model]\nbundle = '{home}/nowhere-1.0.0'")
    assert found["model"].state == "broken"
    assert found["model"].message.startswith(f"bundle {home}/nowhere-1.0.0 does not exist; ")


def test_a_microphone_that_was_named_and_is_not_there_is_broken(home):
    check = checks(home, "[audio]\ndevice = 'no such thing'")["microphone"]
    assert check.state == "broken"


def health(phase: Phase = Phase.LISTENING, reason: str = "", n_gaps: int = 0, n_lost: int = 0) -> Health:
    microphone = "desk microphone" if phase is Phase.LISTENING else ""
    return Health(phase, reason, "kitchen", "tonelight-1.0.0", microphone, 1000.0, 50_000, 7, n_gaps, n_lost)


@pytest.mark.parametrize(
    ("told", "state", "message"),
    [
        (health(), "ok", "tonelight listens to desk microphone; level now -42 dB; 0.00 s of sound lost in 0 gaps .*"),
        (health(n_gaps=2, n_lost=8_000), "ok", ".*; 0.50 s of sound lost in 2 gaps since its start"),
        (health(n_gaps=90, n_lost=160_000), "warning", ".*; 10.00 s of sound lost in 90 gaps .* machine is too busy.*"),
        (health(Phase.MUTED), "ok", "muted: tonelight runs and has closed it, until `tonelight unmute`; .*"),
        (health(Phase.FAULT, "it is gone; plug it in"), "broken", r"it is gone; plug it in \(tonelight runs, .*\)"),
        (health(Phase.STARTING), "ok", "tonelight runs, and waits for the first sound"),
    ],
)
def test_what_a_running_daemon_says_of_its_microphone(home, told, state, message):
    file = HealthFile(home / "run" / "health.json")
    file.on_level(-41.7, False)
    file.on_health(told)
    check = checks(home, "[audio]\ndevice = 'only the daemon can see it'")["microphone"]
    assert check.state == state
    assert re.fullmatch(message, check.message), check.message


def test_a_daemon_that_hangs_is_broken(home):
    HealthFile(home / "run" / "health.json", clock=lambda: time.monotonic() - 60).on_health(health())
    check = checks(home)["microphone"]
    assert check.state == "broken"
    assert check.message.startswith(f"the tonelight that runs (process {os.getpid()}) hangs: it has said nothing for 6")


@pytest.mark.parametrize(
    ("samples", "state", "words"),
    [
        (audio_files.noise(5, 44_100, 2, peak=0.1), "ok", "level now -3"),
        (audio_files.noise(5, 44_100, 2, peak=1e-5), "warning", "is very faint, -"),
        (np.zeros((5 * 44_100, 2)), "warning", "gives no sound, only one and the same value; is it switched off"),
    ],
)
def test_without_a_daemon_the_microphone_is_listened_to(home, monkeypatch, samples, state, words):
    pytest.importorskip("sounddevice", exc_type=OSError, reason="needs PortAudio")
    for key, value in audio_files.write_microphone(home, samples).items():
        monkeypatch.setenv(key, value)
    check = checks(home)["microphone"]
    assert (check.state, words in check.message) == (state, True), check.message


def test_a_muted_microphone_is_not_listened_to(home, monkeypatch):
    pytest.importorskip("sounddevice", exc_type=OSError, reason="needs PortAudio")
    for key, value in audio_files.write_microphone(home, np.zeros((10, 2))).items():
        monkeypatch.setenv(key, value)
    Mute(config.mute_path()).set(True)
    check = checks(home)["microphone"]
    assert check.state == "ok"
    assert "muted, so not listened to now" in check.message


def test_a_user_who_may_not_open_any_microphone_is_told_the_group():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        assert doctor._not_allowed(folder) == ""  # there is none
        (folder / "pcmC1D0p").touch(mode=0)  # a loudspeaker
        (folder / "pcmC1D0c").touch()
        assert doctor._not_allowed(folder) == ""
        (folder / "pcmC1D0c").chmod(0)
        root = os.geteuid() == 0
        if root:
            os.setresuid(65534, 65534, 0)  # to root nothing is forbidden
        try:
            told = doctor._not_allowed(folder)
        finally:
            if root:
                os.setresuid(0, 0, 0)
    group = grp.getgrgid(os.getegid()).gr_name
    assert told == f"; this user may not open it: sudo usermod -aG {group} $USER, and log in again"


def test_a_light_that_cannot_be_driven_is_broken(home):
    # no test runs on a board: there is no GPIO here to be driven
    check = checks(home, "[leds]\nkind = 'rgb'")["light"]
    assert check.state == "broken"
    assert "leds.kind" in check.message or "GPIO" in check.message


@pytest.mark.parametrize(
    ("fault", "age_s", "state", "message"),
    [
        ("", 0, "ok", "the tonelight that runs (process PID) drives it"),
        ("GPIO 17 is gone; mend it", 0, "broken", "GPIO 17 is gone; mend it (tonelight runs, and tries it again)"),
        ("", 60, "warning", "not known: the tonelight that runs (process PID) hangs"),
    ],
)
@pytest.mark.parametrize("whose", ["mine", "the system's"])
def test_the_light_of_a_running_daemon_is_never_opened(home, monkeypatch, whose, fault, age_s, state, message):
    monkeypatch.setattr("edge.leds.open_backend", lambda settings: pytest.fail("taken from the one that drives it"))
    monkeypatch.setattr(config, "SYSTEM_RUNTIME", home / "system")
    folder = home / ("run" if whose == "mine" else "system")
    file = HealthFile(folder / "health.json", clock=lambda: time.monotonic() - age_s)
    file.on_health(replace(health(), light_fault=fault))
    wanted = Check("light", state, message.replace("PID", str(os.getpid())))
    assert checks(home, "[leds]\nkind = 'rgb'")["light"] == wanted


def test_a_log_that_does_not_exist_yet_is_fine(home):
    assert checks(home)["log"] == Check("log", "ok", f"{home}/state/history.db will be created")


def test_a_log_that_is_turned_off_is_fine(home):
    assert checks(home, "[history]\nenabled = false")["log"].state == "ok"


def test_a_log_that_cannot_be_created_is_broken():
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "mine.toml").write_text("[history]\npath = 'log/history.db'")
        (Path(name) / "log").mkdir(mode=0o555)
        Path(name).chmod(0o755)
        root = os.geteuid() == 0
        if root:
            os.setresuid(65534, 65534, 0)  # to root nothing is forbidden
        try:
            check = next(check for check in doctor.examine(Path(name) / "mine.toml") if check.name == "log")
        finally:
            if root:
                os.setresuid(0, 0, 0)
    assert check.state == "broken"
    assert f"no write permission in {name}/log" in check.message


def test_a_log_that_is_something_else_is_broken(home):
    (home / "state").mkdir()
    (home / "state" / "history.db").write_text("my diary\n" * 1000)
    check = checks(home)["log"]
    assert check.state == "broken"
    assert check.message.startswith(f"{home}/state/history.db: the log cannot be read: ")


def test_a_log_says_how_large_it_is(home):
    from edge.history import History

    log = History(home / "state" / "history.db", max_mb=1, max_days=1)
    log.flush()
    log.close()
    check = checks(home)["log"]
    assert check.state == "ok"
    assert check.message.endswith(" of at most 64 MB")
    with sqlite3.connect(home / "state" / "history.db") as db:  # and was left as it was
        assert db.execute("SELECT count(*) FROM events").fetchone() == (0,)


def test_clips_are_counted(home):
    clips = Clips(config.clips_path())
    for n in range(3):
        clips.add(b"fLaC", 1.0, event("sad", ago_s=60 * n))
    clips.label(clips.all()[0].id, "happy")
    check = checks(home, '[leds]\nkind = "terminal"\n[capture]\nmax_clips = 20')["capture"]
    assert check.state == "ok"
    assert check.message == f"off: no sound is kept; 3 of at most 20 clips in {config.clips_path()}, 1 named"


@pytest.mark.parametrize(
    ("capturing_s", "state", "message"),
    [
        (None, "ok", "on for 30 minutes, as soon as tonelight runs; 0 of at most "),
        (1800.0, "ok", "on: clips of speech are kept for 30 minutes; 0 of at most "),
        (0.0, "warning", "switched on, but the tonelight that runs keeps nothing: it is muted, or its light "),
    ],
)
def test_capture_that_is_on_says_so(home, capturing_s, state, message):
    CaptureSwitch(config.capture_path()).set(1800)
    running = None
    if capturing_s is not None:
        running = HealthFile(config.health_path())
        running.on_health(replace(health(), capturing_s=capturing_s))
    try:
        check = checks(home)["capture"]
    finally:
        if running is not None:
            running.close()
    assert check.state == state
    assert check.message.startswith(message)


def test_capture_that_no_light_can_show_cannot_be_on(home):
    check = checks(home, '[leds]\nkind = "none"')["capture"]
    assert check.state == "ok"
    assert check.message.startswith('off, and cannot be switched on, as leds.kind = "none" here cannot show it; 0 of')


def test_clips_that_cannot_be_read_are_broken(home):
    config.clips_path().parent.mkdir(parents=True, exist_ok=True)
    config.clips_path().write_text("no folder")
    check = checks(home)["capture"]
    assert check.state == "broken"
    assert check.message == f"{config.clips_path()}: cannot be read: Not a directory; try again with sudo"


SERVICES = ("mqtt", "metrics", "page")
ALL_ON = "[mqtt]\nenabled = true\n{}\n[metrics]\nenabled = true\n{}\n[web]\nenabled = true"


def test_services_that_are_on_are_ready(home):
    pytest.importorskip("paho.mqtt.client")
    pytest.importorskip("prometheus_client")
    pytest.importorskip("uvicorn")
    found = checks(home, ALL_ON.format("", ""), SERVICES)
    assert [found[name] for name in SERVICES] == [
        Check("mqtt", "ok", "ready to tell the broker localhost:1883"),
        Check("metrics", "ok", "ready to be served at 127.0.0.1, port 9730"),
        Check("page", "ok", "ready to be served at 127.0.0.1, port 8730"),
    ]


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("paho.mqtt.client", "mqtt", "mqtt.enabled needs the library paho-mqtt 2: "),
        ("prometheus_client", "metrics", "metrics.enabled needs the library prometheus-client: "),
        ("uvicorn", "page", "the page needs uvicorn: "),
    ],
)
def test_a_service_without_its_library_is_broken(home, monkeypatch, module, name, message):
    monkeypatch.setitem(sys.modules, module, None)
    check = checks(home, ALL_ON.format("", ""), SERVICES)[name]
    assert check.state == "broken"
    assert check.message.startswith(message)


@pytest.mark.parametrize(
    ("mqtt", "metrics", "name", "message"),
    [
        (
            "username = 'u'\npassword_file = 'gone'",
            "",
            "mqtt",
            "mqtt.password_file = HOME/gone: cannot be read: No such",
        ),
        ("tls = true\nca_file = 'mine.toml'", "", "mqtt", "mqtt.ca_file = HOME/mine.toml: holds no certificate in PEM"),
        ("", "token_file = 'gone'", "metrics", "metrics.token_file = HOME/gone: cannot be read: No such file"),
    ],
)
def test_a_service_without_its_secret_is_broken(home, mqtt, metrics, name, message):
    pytest.importorskip("paho.mqtt.client")
    pytest.importorskip("prometheus_client")
    check = checks(home, ALL_ON.format(mqtt, metrics), SERVICES)[name]
    assert check.state == "broken"
    assert check.message.startswith(message.replace("HOME", str(home)))


def test_a_token_that_only_the_service_can_see_is_not_missed_for_sure(home, monkeypatch):
    pytest.importorskip("prometheus_client")
    for_everybody = "[metrics]\nenabled = true\naddress = '0.0.0.0'"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    check = checks(home, for_everybody, ("metrics",))["metrics"]
    assert check.state == "warning"
    assert check.message.endswith("(a service that has the credential metrics-token needs no file)")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(home))  # as for the service, and it is not there
    assert checks(home, for_everybody, ("metrics",))["metrics"].state == "broken"
    (home / "metrics-token").write_text("open sesame")
    assert checks(home, for_everybody, ("metrics",))["metrics"].state == "ok"


def test_the_clock_is_never_more_than_a_warning(home):
    assert checks(home)["clock"].state in ("ok", "warning")
