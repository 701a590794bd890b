"""Deleting from the log: what was asked for and nothing else, gone from the disk, while the light goes on writing."""

import io
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from observed import event as observed_event

from edge.cli import main
from edge.erase import erase_events
from edge.errors import HistoryError
from edge.history import Event, History, count_events, read_events, utc_text

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def event(minute: int) -> Event:
    """An event of its own minute after noon, with a device name that can be looked for on the disk."""
    at = utc_text(NOON + timedelta(minutes=minute))
    return msgspec.structs.replace(observed_event(minute), ts=at, node=f"<device-{minute}>")


@pytest.fixture
def log(tmp_path):
    """A log with an event a minute, still open for writing."""
    history = History(tmp_path / "history.db", max_mb=10, max_days=36_500)
    for minute in range(600):
        history.write(event(minute))
    history.flush()
    yield history
    history.close()


def minutes(path: Path) -> list[int]:
    return [int(each.start_s) for each in read_events(path)]


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()))


def test_a_span_of_time_goes_and_the_rest_stays(log):
    since, until = NOON + timedelta(minutes=100), NOON + timedelta(minutes=500)
    assert count_events(log.path, since, until) == (400, utc_text(since), utc_text(until - timedelta(minutes=1)))
    assert erase_events(log.path, since, until) == 400
    assert minutes(log.path) == [*range(100), *range(500, 600)]
    assert count_events(log.path, since, until) == (0, "", "")


def test_nothing_of_it_is_left_in_any_file_while_the_daemon_has_the_log_open(log):
    assert b"<device-300>" in on_disk(log.path)
    n_before = len(on_disk(log.path))
    erase_events(log.path, NOON + timedelta(minutes=100), NOON + timedelta(minutes=500))
    left = on_disk(log.path)
    assert [minute for minute in range(100, 500) if f"<device-{minute}>".encode() in left] == []
    assert b"2026-03-01T17:00" not in left  # the index, too
    assert b"<device-99>" in left and b"<device-500>" in left
    assert len(left) < n_before / 2


def test_the_daemon_goes_on_writing(log):
    erase_events(log.path)
    assert minutes(log.path) == []
    log.write(event(1000))
    log.flush()
    assert minutes(log.path) == [1000]
    with closing(sqlite3.connect(log.path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_open_ends(log):
    assert erase_events(log.path, until=NOON + timedelta(minutes=10)) == 10
    assert erase_events(log.path, since=NOON + timedelta(minutes=20)) == 580
    assert minutes(log.path) == list(range(10, 20))


def test_a_reader_in_the_way_is_named_and_the_second_attempt_finishes(log, monkeypatch):
    monkeypatch.setattr("edge.erase._PATIENCE_S", 0.1)
    with closing(sqlite3.connect(log.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        log.write(event(700))
        log.flush()
        with pytest.raises(HistoryError, match=r"601 events were deleted, but traces .* in history\.db-wal"):
            erase_events(log.path)
    assert b"<device-300>" in on_disk(log.path)
    assert erase_events(log.path) == 0
    assert b"<device-" not in on_disk(log.path)


def test_a_locked_log(log, monkeypatch):
    monkeypatch.setattr("edge.erase._PATIENCE_S", 0.1)
    with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HistoryError, match="another program keeps it to itself; try again when that has ended"):
            erase_events(log.path)
    assert len(minutes(log.path)) == 600


def test_what_is_no_log_is_left_alone(tmp_path):
    path = tmp_path / "history.db"
    with pytest.raises(HistoryError, match="there is no log yet, and nothing to delete"):
        erase_events(path)
    assert not path.exists()
    path.write_bytes(b"a letter to my aunt" * 1000)
    with pytest.raises(HistoryError, match="it is damaged"):
        erase_events(path)
    assert path.read_bytes() == b"a letter to my aunt" * 1000
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE events (ts)")
        db.execute("INSERT INTO events VALUES ('2026')")
        db.commit()
    with pytest.raises(HistoryError, match="it is no log of this version"):
        erase_events(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT ts FROM events").fetchall() == [("2026",)]


# --- the command


@pytest.fixture
def heard(home):
    history = History(home / "state" / "history.db", max_mb=10, max_days=36_500)
    for minute in range(3):
        history.write(event(minute))
    history.close()
    return home / "state" / "history.db"


def answered(monkeypatch, text: str, *argv: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return main(["history", "--delete", *argv])


def test_the_command_asks_and_says_how_many(heard, monkeypatch, capsys):
    monkeypatch.setenv("TZ", "UTC")
    assert answered(monkeypatch, "y\n", "--since", "2026-03-01T12:01Z") == 0
    assert capsys.readouterr().out == (
        "2 events, from 2026-03-01 12:01:00 to 2026-03-01 12:02:00, will be gone for good. Delete? [y/N] deleted: 2\n"
    )
    assert minutes(heard) == [0]


@pytest.mark.parametrize("answer", ["", "n\n", "\n", "yesterday\n"])
def test_without_a_yes_nothing_is_deleted(heard, monkeypatch, capsys, answer):
    assert answered(monkeypatch, answer) == 1
    assert capsys.readouterr().err == "tonelight: nothing was deleted: answer y, or give --yes not to be asked\n"
    assert minutes(heard) == [0, 1, 2]


def test_with_yes_nobody_is_asked(heard, capsys):
    assert main(["history", "--delete", "--yes", "--until", "2026-03-01T12:02Z"]) == 0
    assert capsys.readouterr().out == "deleted: 2\n"
    assert minutes(heard) == [2]
    assert main(["history", "--delete", "--yes", "--until", "2026-03-01T12:02Z"]) == 0
    assert capsys.readouterr().out == "nothing was heard in that time\n"


def test_damaged_logs_that_were_set_aside_are_named(heard, capsys):
    heard.with_name("history.db.corrupt-20260301T120000Z").touch()
    assert main(["history", "--delete", "--yes"]) == 0
    assert f"damaged logs that were set aside: {heard}.corrupt-*" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["--yes"], ["--day", "today", "--since", "2h"], ["--delete", "--json"]])
def test_what_does_not_go_together(home, argv):
    with pytest.raises(SystemExit) as ended:
        main(["history", *argv])
    assert ended.value.code == 2


def test_without_the_right_to_write_the_way_out_is_named(heard):
    """As a user of one's own, since root may write anywhere."""
    if os.geteuid() != 0:
        heard.chmod(0o400)
        heard.parent.chmod(0o500)
        argv: list[str] = []
    else:
        os.chmod(heard.parents[1], 0o755)  # noqa: PTH101
        argv = ["import os; os.setgid(65534); os.setuid(65534)"]
    code = "\n".join(
        [
            "from pathlib import Path",
            "from edge.erase import erase_events",
            "from edge.errors import HistoryError",
            *argv,
            f"try: erase_events(Path({str(heard)!r}))",
            "except HistoryError as error: print(error)",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    heard.parent.chmod(0o700)
    assert done.stderr == ""
    assert "try again with sudo" in done.stdout
    assert minutes(heard) == [0, 1, 2]
