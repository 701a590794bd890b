"""The log: what goes in comes out, its bounds hold, and nothing that happens to the file loses more than it must."""

import csv
import io
import json
import logging
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import history
from edge.clock import clock_synced
from edge.errors import ConfigError, HistoryError
from edge.events import Detection
from edge.history import Event, History, count_events, parse_since, read_events, write_csv, write_json_lines
from edge.labels import EMOTIONS

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SOON = timedelta(seconds=60)


def event(number: int = 0, *, at: datetime | None = None, synced: bool | None = True) -> Event:
    """An event told from others by its `start_s`."""
    return Event(
        schema=2,
        ts=history.utc_text(at or datetime.now(timezone.utc)),
        mono_s=12.5,
        node="kitchen",
        start_s=float(number),
        end_s=number + 1.5,
        label="happy",
        confidence=0.75,
        probs=dict(zip(EMOTIONS, (0.05, 0.05, 0.75, 0.03, 0.03, 0.03, 0.03, 0.03), strict=True)),
        uncertain=False,
        model="tiny-1",
        latency_ms=40.0,
        clock_synced=synced,
        activation=0.8,
    )


def numbers(path: Path) -> list[int]:
    return [int(e.start_s) for e in read_events(path)]


def n_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(path.name + "*"))


def sql(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement).fetchall()


class Clock:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


# --- events


def test_an_event_of_a_detection():
    probs = dict.fromkeys(EMOTIONS, 0.125)
    detection = Detection(1.0, 2.5, "sad", 0.4, probs, True, 0.3)
    now = datetime(2026, 3, 1, 13, 0, 0, 250_999, tzinfo=timezone(timedelta(hours=1)))
    made = Event.from_detection(detection, node="n", model="m-1", latency_ms=12.0, now=now, mono_s=7.0)
    synced = made.clock_synced
    assert made == Event(
        2, "2026-03-01T12:00:00.250Z", 7.0, "n", 1.0, 2.5, "sad", 0.4, probs, True, "m-1", 12.0, synced, 0.3
    )
    with pytest.raises(ValueError, match="no time zone"):
        Event.from_detection(detection, node="n", model="m", latency_ms=1, now=datetime(2026, 1, 1), mono_s=0)


def test_the_fields_are_those_of_the_contract_in_its_order():
    assert Event.__struct_fields__ == (
        *("schema", "ts", "mono_s", "node", "start_s", "end_s", "label", "confidence", "probs", "uncertain", "model"),
        *("latency_ms", "clock_synced", "activation"),
    )


# --- writing and reading

moments = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc))
finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.builds(
            Event,
            schema=st.sampled_from([1, 2]),
            ts=moments.map(history.utc_text),
            mono_s=finite,
            node=st.text(st.characters(exclude_categories=["Cs"])),
            start_s=finite,
            end_s=finite,
            label=st.sampled_from(EMOTIONS),
            confidence=finite,
            probs=st.dictionaries(st.sampled_from(EMOTIONS), finite),
            uncertain=st.booleans(),
            model=st.text("ab\"'\n\0é", max_size=5),
            latency_ms=finite,
            clock_synced=st.sampled_from((True, False, None)),
            activation=st.none() | finite,
        ),
        max_size=5,
    )
)
def test_what_goes_in_comes_out(tmp_path_factory, events):
    path = tmp_path_factory.mktemp("log") / "history.db"
    log = History(path, max_mb=10, max_days=36_500)
    for each in events:
        log.write(each)
    assert list(log.events()) == events
    log.close()
    assert list(read_events(path)) == events


def test_a_quiet_log_is_written_at_once_and_a_busy_one_in_batches(tmp_path):
    path, clock = tmp_path / "history.db", Clock()
    log = History(path, 10, 365, clock)
    log.write(event(0))
    assert numbers(path) == [0]
    log.write(event(1))
    log.tick()
    assert numbers(path) == [0] and log.n_waiting == 1
    clock.now_s += 5
    log.tick()
    assert numbers(path) == [0, 1] and log.n_waiting == 0
    for number in range(2, 2 + 32):
        log.write(event(number))
    assert numbers(path) == list(range(34))
    log.write(event(34))
    log.close()
    assert numbers(path) == list(range(35))


def test_since_a_moment(tmp_path):
    path = tmp_path / "history.db"
    log = History(path, 10, 36_500)
    for hours in range(5):
        log.write(event(hours, at=NOON + timedelta(hours=hours)))
    assert [e.start_s for e in log.events(NOON + timedelta(hours=3))] == [3, 4]
    log.close()
    assert [e.start_s for e in read_events(path, NOON + timedelta(hours=3, milliseconds=1))] == [4]


def test_the_folder_and_the_file_are_made_when_needed(tmp_path):
    path = tmp_path / "a" / "b #%?" / "history.db"
    log = History(path, 10, 365)
    assert not path.parent.exists()
    log.flush()
    assert list(read_events(path)) == []
    log.close()


def test_a_file_removed_under_a_running_writer_is_made_anew(tmp_path):
    path = tmp_path / "history.db"
    log = History(path, 10, 365)
    log.write(event(0))
    for file in tmp_path.iterdir():
        file.unlink()
    log.write(event(1))
    log.flush()
    assert numbers(path) == [1]
    log.close()


def test_a_slow_reader_does_not_hold_up_the_writer(tmp_path):
    path = tmp_path / "history.db"
    log = History(path, max_mb=1, max_days=365)
    for number in range(600):
        log.write(event(number))
    log.flush()
    reader = read_events(path)
    first = next(reader)
    for number in range(600, 6000):
        log.write(event(number))
    log.flush()
    assert n_bytes(path) < 1_000_000  # the log beside the file, too, was emptied while the reader stood still
    rest = [int(e.start_s) for e in reader]
    assert first.start_s == 0 and rest[-1] == 5999
    log.close()


# --- bounds


def test_size_is_bounded_at_every_moment_and_the_newest_stay(tmp_path):
    path, clock = tmp_path / "history.db", Clock()
    log = History(path, max_mb=1, max_days=365, clock=clock)
    largest = 0
    for number in range(6000):
        log.write(event(number))
        if number % 50 == 0:
            clock.now_s += 5
            log.tick()
            largest = max(largest, n_bytes(path))
    assert 300_000 < largest <= 1_000_000
    log.close()
    kept = numbers(path)
    assert kept == list(range(kept[0], 6000)) and 500 < len(kept) < 5000


@pytest.mark.parametrize("is_opened_anew", [True, False])
def test_a_large_log_shrinks_in_steps_when_less_is_allowed(tmp_path, is_opened_anew):
    path, clock = tmp_path / "history.db", Clock()
    log = History(path, max_mb=50, max_days=365, clock=clock)
    for number in range(6000):
        log.write(event(number))
    if is_opened_anew:
        log.close()
        before = n_bytes(path)
        log = History(path, max_mb=1, max_days=365, clock=clock)
    else:
        log.flush()
        before = n_bytes(path)
        log.limit(max_mb=1, max_days=365)
    log.flush()
    assert len(numbers(path)) == 5800  # one step at a time
    for _ in range(40):
        clock.now_s += 5
        log.tick()
    log.close()
    assert before > 1_500_000 and n_bytes(path) < 600_000
    assert numbers(path)[-1] == 5999


def steady(path: Path, jump_days: float = 0) -> None:
    """The clock of this board has run on for years, and has jumped a moment ago if it has."""
    now_s = time.time()
    path.with_name(f"{path.name}.clock").write_text(f"{now_s - 1e9} {now_s - jump_days * 86_400}")


@pytest.mark.parametrize("jump_days", [40, 10_000, -10_000])
def test_a_clock_that_jumps_removes_nothing(tmp_path, monkeypatch, jump_days):
    monkeypatch.setattr("edge.clock.TIMESYNC", tmp_path / "no network")
    path = tmp_path / "history.db"
    steady(path, jump_days)
    log = History(path, 50, 7)
    for number in range(3):
        log.write(event(number, at=datetime.now(timezone.utc) - timedelta(days=abs(jump_days))))
    log.close()
    log = History(path, 50, 7)
    log.write(event(3))
    log.close()
    assert numbers(path) == [0, 1, 2, 3]


def test_old_rows_go_and_the_space_comes_back(tmp_path):
    path, clock = tmp_path / "history.db", Clock()
    steady(path)
    log = History(path, 50, 10_000, clock)
    for number in range(1000):
        log.write(event(number, at=datetime.now(timezone.utc) - timedelta(days=30)))
    log.write(event(1000))
    log.close()
    before = n_bytes(path)
    log = History(path, 50, 7, clock)
    log.flush()
    assert len(numbers(path)) == 801
    for _ in range(6):
        clock.now_s += 5
        log.tick()
    assert numbers(path) == [1000]
    log.close()
    assert n_bytes(path) < before / 4


def test_age_is_looked_at_every_hour_without_new_events(tmp_path):
    path, clock = tmp_path / "history.db", Clock()
    steady(path)
    log = History(path, 50, 7, clock)
    log.write(event(0))
    sql(path, "UPDATE events SET ts = '2020-01-01T00:00:00.000Z'")
    clock.now_s += 3590
    log.tick()
    assert numbers(path) == [0]
    clock.now_s += 10
    log.tick()
    assert numbers(path) == []
    log.close()


@pytest.mark.skipif(clock_synced() is False, reason="this machine's own clock is not set")
def test_a_row_from_before_the_clock_was_set_is_as_old_as_what_follows(tmp_path):
    path = tmp_path / "history.db"
    steady(path)
    log = History(path, 50, 7)
    log.write(event(0, at=datetime.now(timezone.utc) - timedelta(days=8)))
    log.write(event(1, at=datetime(1970, 1, 1, tzinfo=timezone.utc), synced=False))
    log.write(event(2))
    log.close()
    log = History(path, 50, 7)
    log.flush()
    assert numbers(path) == [1, 2]
    log.close()
    sql(path, "UPDATE events SET ts = '2020-01-01T00:00:00.000Z' WHERE start_s = 2")
    log = History(path, 50, 7)
    log.flush()
    assert numbers(path) == []
    log.close()


# --- trouble


def test_a_damaged_file_is_kept_aside_and_a_new_one_begins(tmp_path, caplog):
    path = tmp_path / "history.db"
    path.write_bytes(b"no database at all, but some text " * 200)
    log = History(path, 10, 365)
    with caplog.at_level(logging.WARNING):
        log.write(event(1))
    (message,) = caplog.messages
    assert re.fullmatch(
        rf"{re.escape(str(path))}: the log is damaged \(file is not a database\); "
        r"it is kept as history\.db\.corrupt-\d{8}T\d{6}Z, and a new one begins",
        message,
    )
    assert numbers(path) == [1]
    (aside,) = tmp_path.glob("history.db.corrupt-*Z")
    assert aside.read_bytes().startswith(b"no database at all")
    log.close()


def test_of_damaged_files_only_the_newest_is_kept(tmp_path):
    path = tmp_path / "history.db"
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"history.db.corrupt-20260301T120000Z{suffix}").write_text("an earlier one")
    (tmp_path / "other.db.corrupt-20260301T120000Z").write_text("of another log")
    path.write_bytes(b"no database at all, but some text " * 200)
    log = History(path, 10, 365)
    log.write(event(1))
    log.close()
    (aside,) = tmp_path.glob("history.db.corrupt-*")
    assert aside.read_bytes().startswith(b"no database at all")
    assert len(list(tmp_path.glob("other.db.corrupt-*"))) == 1


def test_a_text_that_is_none_is_one_line(tmp_path):
    path = tmp_path / "history.db"
    log = History(path, 10, 365)
    log.write(event(0))
    log.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE events SET ts = CAST(x'32300a2d05ff' AS TEXT)")
        db.commit()
    with pytest.raises(HistoryError, match=r"cannot be read: .*; it is damaged; `tonelight run`") as caught:
        list(read_events(path))
    assert str(caught.value).isprintable()


def test_damage_in_the_middle_is_found_at_the_start(tmp_path, caplog):
    path = tmp_path / "history.db"
    log = History(path, 10, 365)
    for number in range(500):
        log.write(event(number))
    log.close()
    content = bytearray(path.read_bytes())
    content[5 * 4096 : 20 * 4096] = os.urandom(15 * 4096)
    path.write_bytes(content)
    with pytest.raises(HistoryError, match=r"the log cannot be read: .*malformed"):
        list(read_events(path))
    log = History(path, 10, 365)
    with caplog.at_level(logging.WARNING):
        log.flush()
    assert len(caplog.messages) == 1 and "\n" not in caplog.messages[0]
    log.write(event(1))
    log.close()
    assert numbers(path) == [1]
    assert len(list(tmp_path.glob("*.corrupt-*"))) == 1


def test_damage_while_running_loses_no_event(tmp_path):
    path, clock = tmp_path / "history.db", Clock()
    log = History(path, 10, 365, clock)
    for number in range(500):
        log.write(event(number))
    log.flush()
    sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(os.urandom(path.stat().st_size))
    for number in range(500, 600):
        clock.now_s += 5
        log.write(event(number))
    log.close()
    assert numbers(path)[-1] == 599
    assert len(numbers(path)) == 100
    assert len(list(tmp_path.glob("history.db.corrupt-*Z"))) == 1


def test_a_file_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "history.db"
    sql(path, "CREATE TABLE recipes (name)")
    before = path.read_bytes()
    with pytest.raises(HistoryError, match=r"written by another program; move it away or set history\.path"):
        History(path, 10, 365).flush()
    assert path.read_bytes() == before
    with pytest.raises(HistoryError, match="no log of tonelight"):
        list(read_events(path))


SCHEMA_1 = """
CREATE TABLE events (id INTEGER PRIMARY KEY, schema INTEGER NOT NULL, ts TEXT NOT NULL, mono_s REAL NOT NULL,
 node TEXT NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL, label TEXT NOT NULL, confidence REAL NOT NULL,
 probs TEXT NOT NULL, uncertain INTEGER NOT NULL, model TEXT NOT NULL, latency_ms REAL NOT NULL, clock_synced INTEGER);
CREATE INDEX events_ts ON events (ts);
PRAGMA user_version = 1;
"""


@pytest.fixture
def first(tmp_path) -> tuple[Path, list[Event]]:
    """A log as the first version wrote it, and what is in it."""
    path = tmp_path / "history.db"
    old = [msgspec.structs.replace(event(number), schema=1, activation=None) for number in range(3)]
    names = [name for name in Event.__struct_fields__ if name != "activation"]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA_1)
        for each in old:
            values = [json.dumps(each.probs) if name == "probs" else getattr(each, name) for name in names]
            db.execute(f"INSERT INTO events ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", values)
    return path, old


def test_a_log_of_the_first_version_is_read_as_it_is(first):
    path, old = first
    before = path.read_bytes()
    assert list(read_events(path)) == old
    assert path.read_bytes() == before


def test_a_log_of_the_first_version_is_taken_over_with_all_its_rows(first):
    path, old = first
    log = History(path, 10, 365)
    new = [event(3), event(4)]
    log.write(new[0])
    assert list(log.events()) == [*old, new[0]]
    log.close()
    log = History(path, 10, 365)  # once is enough
    log.write(new[1])
    log.close()
    assert list(read_events(path)) == [*old, *new]
    assert sql(path, "PRAGMA user_version") == [(2,)]
    assert sql(path, "SELECT count(*) FROM events WHERE activation IS NULL") == [(3,)]


def test_a_reader_goes_on_while_the_log_is_taken_over(first):
    path, old = first
    reading = read_events(path)
    assert next(reading) == old[0]
    log, new = History(path, 10, 365), event(3)
    log.write(new)
    assert list(reading) == [*old[1:], new]
    log.close()


def test_what_cannot_be_taken_over_now_is_later(first):
    path, old = first
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        log, new = History(path, 10, 365), event(3)
        with pytest.raises(HistoryError, match="cannot be written"):
            log.write(new)
        other.execute("ROLLBACK")
    assert list(read_events(path)) == old
    log.close()
    assert list(read_events(path)) == [*old, new]


def test_no_activation_is_null_and_an_empty_cell(first):
    path, _ = first
    out = io.StringIO()
    write_json_lines(read_events(path), out)
    assert [json.loads(line)["activation"] for line in out.getvalue().splitlines()] == [None] * 3
    out = io.StringIO()
    write_csv([*read_events(path), event(3)], out)
    assert [row["activation"] for row in csv.DictReader(io.StringIO(out.getvalue()))] == ["", "", "", "0.8"]


def test_a_file_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "history.db"
    log = History(path, 10, 365)
    log.write(event(1))
    log.close()
    sql(path, "PRAGMA user_version = 99")
    log = History(path, 10, 365)
    with pytest.raises(HistoryError, match="written by a newer version of tonelight"):
        log.write(event(2))
    assert log.n_waiting == 1
    assert numbers(path) == [1]


def test_events_wait_until_writing_works_again(tmp_path):
    folder, clock = tmp_path / "state", Clock()
    folder.write_text("a file where the folder should be")
    path = folder / "history.db"
    log = History(path, 10, 365, clock)
    with pytest.raises(HistoryError) as caught:
        log.write(event(0))
    assert str(caught.value) == (
        f"{path}: the log cannot be written: File exists; check the disk's space and the folder's owner; "
        "1 events wait in memory"
    )
    for number in range(1, 50):
        log.write(event(number))  # silent until the next attempt is due
    clock.now_s += 5
    with pytest.raises(HistoryError, match=r"50 events wait in memory$"):
        log.tick()
    with pytest.raises(HistoryError, match=r"50 events wait in memory, and are lost when the program ends now$"):
        log.close()
    folder.unlink()
    clock.now_s += 5
    log.tick()
    assert numbers(path) == list(range(50)) and log.n_waiting == 0
    log.close()


def test_a_log_that_another_program_keeps_to_itself(tmp_path):
    path, clock = tmp_path / "history.db", Clock()
    log = History(path, 10, 365, clock)
    log.write(event(0))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        clock.now_s += 5
        with pytest.raises(HistoryError, match="is locked; another program keeps it to itself, and it is tried again"):
            log.write(event(1))
        assert numbers(path) == [0]  # who only reads is not in the way of anybody
    clock.now_s += 5
    log.tick()
    log.close()
    assert numbers(path) == [0, 1]


def test_up_to_when(tmp_path):
    log = History(tmp_path / "history.db", 10, 36_500)
    for hour in range(6):
        log.write(event(hour, at=NOON + timedelta(hours=hour)))
    log.close()

    def heard(since: int | None, until: int | None) -> list[int]:
        moments = [None if hour is None else NOON + timedelta(hours=hour) for hour in (since, until)]
        found = [int(each.start_s) for each in read_events(log.path, *moments)]
        assert count_events(log.path, *moments)[0] == len(found)
        return found

    assert heard(None, 3) == [0, 1, 2] and heard(2, 4) == [2, 3] and heard(4, None) == [4, 5] and heard(4, 4) == []
    assert count_events(log.path)[1:] == ("2026-03-01T12:00:00.000Z", "2026-03-01T17:00:00.000Z")


def test_memory_is_bounded_too_and_losses_are_counted(tmp_path):
    (tmp_path / "state").touch()
    log = History(tmp_path / "state" / "history.db", 10, 365, Clock())
    same = event()
    with pytest.raises(HistoryError):
        log.write(same)
    for _ in range(10_005):
        log.write(same)
    assert (log.n_waiting, log.n_lost) == (10_000, 6)


def test_a_full_disk(tmp_path):
    """The limit on the size of files makes the kernel refuse to write, as a full disk would."""
    path = tmp_path / "history.db"
    program = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_history import Clock, History, HistoryError, event
path, clock = Path({str(path)!r}), Clock()
log = History(path, 10, 365, clock)
log.write(event(0))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
n_failed = 0
for number in range(1, 1000):
    clock.now_s += 5
    try:
        log.write(event(number))
    except HistoryError as error:
        n_failed += 1
        assert "cannot be written" in str(error), error
assert n_failed > 100 and log.n_waiting > 100, (n_failed, log.n_waiting)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
clock.now_s += 5
log.tick()
assert log.n_waiting == 0
log.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    assert numbers(path) == list(range(1000))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path):
    path = tmp_path / "history.db"
    log = History(path, 10, 365)
    log.write(event(0))
    log.close()
    path.chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        assert numbers(path) == [0]
        with pytest.raises(HistoryError, match="cannot be written"):
            History(path, 10, 365).write(event(1))
    finally:
        tmp_path.chmod(0o700)


def test_no_log_yet(tmp_path):
    with pytest.raises(HistoryError, match=r"there is no log yet; `tonelight run` begins one"):
        list(read_events(tmp_path / "history.db"))
    with pytest.raises(HistoryError, match="cannot be read"):
        list(read_events(tmp_path))


# --- two programs at once

WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_history import Clock, History, event
log, clock = None, Clock()
log = History(Path({path!r}), 10, 365, clock)
for number in range(100_000):
    log.write(event(number))
    if number % 10 == 9:
        clock.now_s += 5
        log.tick()
        print(number, flush=True)
    time.sleep(0.0005)
"""


def start_writer(path: Path) -> "subprocess.Popen[str]":
    program = WRITER.format(tests=str(Path(__file__).parent), path=str(path))
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def test_reading_while_another_process_writes(tmp_path):
    path = tmp_path / "history.db"
    writer = start_writer(path)
    assert writer.stdout
    try:
        counts = []
        for _ in range(10):
            promised = int(writer.stdout.readline())
            seen = numbers(path)
            assert seen == list(range(len(seen))) and len(seen) > promised
            counts.append(len(seen))
        assert counts[-1] > counts[0]
    finally:
        writer.kill()
        writer.communicate()


def test_a_killed_writer_loses_at_most_the_last_batch(tmp_path):
    path = tmp_path / "history.db"
    for _ in range(3):
        n_before = len(numbers(path)) if path.exists() else 0
        writer = start_writer(path)
        assert writer.stdout
        for _ in range(20):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        promised = int(rest.split()[-1]) if rest.split() else 199
        after = numbers(path)[n_before:]
        assert after == list(range(len(after))) and len(after) > promised
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]
    log = History(path, 10, 365)
    log.write(event(7))
    log.close()
    assert numbers(path)[-1] == 7


# --- export and since when


def test_json_lines():
    out = io.StringIO()
    write_json_lines([event(1, at=NOON), event(2, at=NOON)], out)
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert list(first) == list(Event.__struct_fields__)
    assert first["ts"] == "2026-03-01T12:00:00.000Z" and first["probs"]["happy"] == 0.75
    assert msgspec.convert(second, Event) == event(2, at=NOON)


def test_csv_has_a_column_for_each_emotion():
    out = io.StringIO()
    write_csv([event(1, at=NOON, synced=None)], out)
    (row,) = csv.DictReader(io.StringIO(out.getvalue()))
    assert row["label"] == "happy" and float(row["p_happy"]) == 0.75 and row["uncertain"] == "false"
    assert row["clock_synced"] == ""
    assert [name for name in row if name.startswith("p_")] == [f"p_{emotion}" for emotion in EMOTIONS]


@pytest.fixture
def berlin(monkeypatch):
    """A place where local time is not UTC, and where the year 1 begins before the first year of UTC."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOON - timedelta(seconds=90)),
        ("30m", NOON - timedelta(minutes=30)),
        ("2h", NOON - timedelta(hours=2)),
        (" 1D ", NOON - timedelta(days=1)),
        ("2 w", NOON - timedelta(weeks=2)),
        ("2026-02-28T10:00:00Z", datetime(2026, 2, 28, 10, tzinfo=timezone.utc)),
        ("2026-02-28 10:00+02:00", datetime(2026, 2, 28, 8, tzinfo=timezone.utc)),
        ("today", datetime(2026, 2, 28, 23, tzinfo=timezone.utc)),
        ("yesterday", datetime(2026, 2, 27, 23, tzinfo=timezone.utc)),
        ("2026-02-28", datetime(2026, 2, 27, 23, tzinfo=timezone.utc)),
        ("2026-02-28T10:00", datetime(2026, 2, 28, 9, tzinfo=timezone.utc)),
        ("2026-07-01", datetime(2026, 6, 30, 22, tzinfo=timezone.utc)),  # summer time
    ],
)
def test_since_when(berlin, text, moment):
    assert parse_since(text, NOON) == moment
    assert parse_since(text, NOON).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text", ["", "soon", "2", "h", "-2h", "1.5h", "2y", "99999999999999d", "2026-13-01", "0001-01-01", "٣h"]
)
def test_no_time_since_when(berlin, text):
    with pytest.raises(ConfigError, match="is no time since when: write 90s, 30m, 2h"):
        parse_since(text, NOON)


def test_since_now_is_the_usual_meaning():
    assert abs(parse_since("1h") - (datetime.now(timezone.utc) - timedelta(hours=1))) < SOON
