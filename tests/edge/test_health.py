"""The file that says how a daemon is."""

import os
import stat
import subprocess
import sys
import time

from edge.health import HealthFile, Report, read_report
from edge.observers import Health, Phase

HEALTH = Health(
    phase=Phase.LISTENING,
    reason="",
    node="kitchen",
    model="tonelight-1.0.0",
    microphone="desk microphone",
    uptime_s=3.5,
    n_blocks=175,
    n_detections=1,
    n_gaps=0,
    n_lost=0,
)


def test_what_was_written_last_is_read_with_the_loudest_level_since_the_time_before(tmp_path):
    path = tmp_path / "run" / "health.json"
    file = HealthFile(path, clock=lambda: 0.5)
    file.on_health(HEALTH)
    assert read_report(path) == Report(os.getpid(), 0.5, None, HEALTH)
    for level_db in (-60.0, -31.5, -80.0):
        file.on_level(level_db, False)
    file.on_health(HEALTH)
    assert read_report(path) == Report(os.getpid(), 0.5, -31.5, HEALTH)
    file.on_health(HEALTH)
    assert read_report(path) == Report(os.getpid(), 0.5, None, HEALTH)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["health.json"]
    file.close()
    assert list(path.parent.iterdir()) == []
    file.close()


def test_its_age_is_that_of_the_clock_all_processes_share(tmp_path):
    HealthFile(tmp_path / "health.json").on_health(HEALTH)
    report = read_report(tmp_path / "health.json")
    assert report is not None
    assert 0 <= report.age_s <= time.monotonic() - report.mono_s


def test_one_that_was_killed_is_not_there(tmp_path):
    path = tmp_path / "health.json"
    HealthFile(path).on_health(HEALTH)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    text = path.read_text().replace(f'"pid":{os.getpid()}', f'"pid":{process.pid}')
    path.write_text(text)
    assert read_report(path) is not None
    process.kill()
    process.communicate()
    assert read_report(path) is None


def test_nothing_or_nonsense_is_nobody(tmp_path):
    assert read_report(tmp_path / "health.json") is None
    for text in (
        "",
        "{}",
        '{"mono_s": 1}',
        "no JSON",
        '{"mono_s": 1, "level_db": null, "health": {}}',
    ):
        (tmp_path / "health.json").write_text(text)
        assert read_report(tmp_path / "health.json") is None
    (tmp_path / "health.json").write_bytes(b'{"pid": "\xf9"}')
    assert read_report(tmp_path / "health.json") is None


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").touch()
    file = HealthFile(tmp_path / "file" / "health.json")
    file.on_health(HEALTH)
    file.close()
    assert read_report(tmp_path / "file" / "health.json") is None


def test_writing_it_enters_no_other_name_into_pythons_table_of_strings(tmp_path, monkeypatch):
    file = HealthFile(tmp_path / "health.json")
    entered = []
    monkeypatch.setattr(sys, "intern", lambda text: entered.append(text) or text)
    file.on_health(HEALTH)
    assert set(entered) <= set(file.path.parts)
    file.path.with_name("other")
    assert "other" in entered
