"""The local log: an SQLite file of events, bounded in size and age, that outlives crashes and full disks.

`History` writes (the daemon), `read_events` reads (anybody, at the same time), `write_json_lines` and `write_csv`
export, `parse_since` understands how people say since when; `edge.erase` deletes. An event holds labels and numbers,
never sound or words.
"""

from __future__ import annotations

import csv
import glob
import logging
import re
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Final, TextIO

import msgspec

from edge.clock import can_tell_age, clock_synced
from edge.errors import ConfigError, HistoryError, one_line
from edge.events import Detection
from edge.labels import EMOTIONS

log = logging.getLogger(__name__)

SCHEMA: Final = 2
"""Version of the fields of an event, and of the file (its `user_version`)."""


class Event(msgspec.Struct, frozen=True):
    """One stretch of speech as log, history and everything else outside tell of it.

    `ts` is when it was classified (UTC, RFC 3339, milliseconds), `mono_s` the same moment on the device's monotonic
    clock, which no correction of the time can move. `start_s` and `end_s` count from the first sample of the stream.
    `probs` maps each emotion to its share. `latency_ms` runs from the end of the speech to the event. `clock_synced`
    says whether `ts` could be trusted; None where the system does not tell. `activation` is the probability that the
    voice was stirred rather than quiet; None in events of schema 1, which did not tell.
    """

    schema: int
    ts: str
    mono_s: float
    node: str
    start_s: float
    end_s: float
    label: str
    confidence: float
    probs: dict[str, float]
    uncertain: bool
    model: str
    latency_ms: float
    clock_synced: bool | None
    activation: float | None

    @classmethod
    def from_detection(
        cls, detection: Detection, *, node: str, model: str, latency_ms: float, now: datetime, mono_s: float
    ) -> Event:
        """The event of `detection`, classified at `now` (with a time zone) on device `node` by bundle `model`.

        Raises:
            ValueError: `now` has no time zone.
        """
        return cls(
            schema=SCHEMA,
            ts=utc_text(now),
            mono_s=mono_s,
            node=node,
            start_s=detection.start_s,
            end_s=detection.end_s,
            label=detection.label,
            confidence=detection.confidence,
            probs=dict(detection.probs),
            uncertain=detection.uncertain,
            model=model,
            latency_ms=latency_ms,
            clock_synced=clock_synced(),
            activation=detection.activation,
        )


def utc_text(moment: datetime) -> str:
    """`moment` in UTC as RFC 3339 with milliseconds: "2026-03-01T12:00:00.250Z". Such texts sort by time.

    Raises:
        ValueError: `moment` has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


_MB: Final = 1_000_000
_BATCH: Final = 32  # events written at once
_INTERVAL_S: Final = 5.0  # and how often at most in between: each commit wears the SD card
_KEPT: Final = 10_000  # events kept in memory while nothing can be written: a few MB
_PRUNE_S: Final = 3600.0
_STEP: Final = 200  # rows written, removed or read at once, so that nobody waits for long
# The write-ahead log beside the file, and what a step may add before the next one removes as much.
_SPARE_BYTES: Final = 512 * 1024
_WAL_BYTES: Final = 256 * 1024
_CACHE_KIB: Final = 256
_DAMAGE: Final = ("malformed", "not a database", "Could not decode")  # words of SQLite

_COLUMNS: Final = Event.__struct_fields__
_CREATE: Final = f"""
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  schema INTEGER NOT NULL,
  ts TEXT NOT NULL,
  mono_s REAL NOT NULL,
  node TEXT NOT NULL,
  start_s REAL NOT NULL,
  end_s REAL NOT NULL,
  label TEXT NOT NULL,
  confidence REAL NOT NULL,
  probs TEXT NOT NULL,
  uncertain INTEGER NOT NULL,
  model TEXT NOT NULL,
  latency_ms REAL NOT NULL,
  clock_synced INTEGER,
  activation REAL
);
CREATE INDEX events_ts ON events (ts);
PRAGMA user_version = {SCHEMA};
"""
_FROM_SCHEMA_1: Final = f"ALTER TABLE events ADD COLUMN activation REAL; PRAGMA user_version = {SCHEMA};"
_INSERT: Final = f"INSERT INTO events ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


class History:
    """The writing side of the log, for one program at a time.

    Making one touches nothing; the first `flush` opens the file (creating it and its folder), so call that once at
    the start to hear of trouble early. An event that cannot be written stays in memory (the last 10,000 do) until
    writing works again: after a `HistoryError` just go on.
    """

    def __init__(self, path: Path, max_mb: float, max_days: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Log into the file at `path`; it never grows beyond `max_mb`, and older rows than `max_days` are removed."""
        self.path = path
        self.n_lost = 0
        """Events that had to be dropped because too many were waiting."""
        self.limit(max_mb, max_days)
        self._clock = clock
        self._waiting: deque[Event] = deque()
        self._db: sqlite3.Connection | None = None
        self._is_checked = False
        self._next_flush_s = float("-inf")

    @property
    def n_waiting(self) -> int:
        """Events not in the file yet."""
        return len(self._waiting)

    def limit(self, max_mb: float, max_days: float) -> None:
        """From now on, keep no more than this; what is there already goes little by little."""
        self._max_bytes = int(max_mb * _MB)
        self._max_days = max_days
        self._next_prune_s = float("-inf")

    def write(self, event: Event) -> None:
        """Add `event`. It is in the file at once after a quiet time, otherwise within seconds, together with others.

        Raises:
            HistoryError: the file cannot be written; the event is kept.
        """
        if len(self._waiting) >= _KEPT:
            self._waiting.popleft()
            self.n_lost += 1
        self._waiting.append(event)
        is_healthy = self._db is not None
        if self._clock() >= self._next_flush_s or (is_healthy and len(self._waiting) >= _BATCH):
            self.flush()

    def tick(self) -> None:
        """Write what has waited long enough, and remove what is too old. Costs next to nothing; call it often.

        Raises:
            HistoryError: the file cannot be written; the events are kept.
        """
        now_s = self._clock()
        if now_s >= self._next_flush_s and (self._waiting or now_s >= self._next_prune_s):
            self.flush()

    def flush(self) -> None:
        """Write everything that waits.

        Raises:
            HistoryError: the file cannot be written; the events are kept.
        """
        self._next_flush_s = self._clock() + _INTERVAL_S
        try:
            try:
                self._flush()
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if not _is_damage(error):
                    raise
                self._set_aside(error)
                self._flush()
        except HistoryError:
            self._disconnect()
            raise
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            raise HistoryError(
                f"{self.path}: the log cannot be written: {_reason(error)}; {_way_out(error)}; "
                f"{len(self._waiting)} events wait in memory"
            ) from None

    def events(self, since: datetime | None = None) -> Iterator[Event]:
        """Everything logged (since a moment), oldest first, with what was waiting.

        Raises:
            HistoryError: the file cannot be written or read.
        """
        self.flush()
        return read_events(self.path, since)

    def close(self) -> None:
        """Write everything that waits, and close the file.

        Raises:
            HistoryError: the file cannot be written; the message says how many events are lost with that.
        """
        try:
            if self._waiting:
                self.flush()
        except HistoryError as error:
            raise HistoryError(f"{error}, and are lost when the program ends now") from None
        finally:
            self._disconnect()

    def _flush(self) -> None:
        if self._db and not self.path.exists():
            self._disconnect()  # somebody removed the file: what is written to it would go nowhere
        db = self._db = self._db or self._connect()
        while self._waiting:
            n_rows = min(_STEP, len(self._waiting))
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_INSERT, [_to_row(event) for event in islice(self._waiting, n_rows)])
            db.execute("COMMIT")
            # Only now: whatever fails up to here leaves them waiting.
            for _ in range(n_rows):
                self._waiting.popleft()
            if self._is_too_large(db):
                self._prune(db)
        if self._clock() >= self._next_prune_s:
            self._prune(db)

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, timeout=1.0, isolation_level=None)
        try:
            # Must be said before anything is in the file; lets it shrink again, a little at a time.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            n_tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version > SCHEMA or (version == 0 and n_tables):
                whose = "a newer version of tonelight" if version > SCHEMA else "another program"
                raise HistoryError(f"{self.path}: the log was written by {whose}; move it away or set history.path")
            # Readers go on while we write, and a commit is one append to one file.
            db.execute("PRAGMA journal_mode = WAL")
            # One fsync for each batch: what was written survives a power cut, and batches keep that rare.
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_BYTES // 4096}")
            db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
            # A log is appended to: pages of long ago, of which SQLite would keep 2 MB in memory, are not read again.
            db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            if not self._is_checked:  # once: it reads the whole file
                fault = db.execute("PRAGMA quick_check(1)").fetchone()[0]
                if fault != "ok":
                    raise _Damaged(" ".join(fault.split()))
                self._is_checked = True
            if not n_tables:
                db.executescript(f"BEGIN; {_CREATE} COMMIT;")
            elif version < SCHEMA:
                db.executescript(f"BEGIN; {_FROM_SCHEMA_1} COMMIT;")
        except BaseException:
            db.close()
            raise
        return db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _set_aside(self, error: Exception) -> None:
        """Rename a damaged file (and SQLite's two companions), so that a new one can be begun and nothing is lost.

        Only the newest is kept: on a card that is dying, they would fill it.
        """
        self._disconnect()
        earlier = list(self.path.parent.glob(f"{glob.escape(self.path.name)}.corrupt-*"))
        aside = self.path.with_name(f"{self.path.name}.corrupt-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}")
        self.path.rename(aside)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        for path in earlier:
            if not path.name.startswith(aside.name):  # within one second, they have one name
                with suppress(OSError):
                    path.unlink()
        log.warning("%s: the log is damaged (%s); it is kept as %s, and a new one begins", self.path, error, aside.name)

    def _is_too_large(self, db: sqlite3.Connection) -> bool:
        n_bytes = db.execute("PRAGMA page_count").fetchone()[0] * db.execute("PRAGMA page_size").fetchone()[0]
        return bool(n_bytes > self._max_bytes - _SPARE_BYTES)

    def _prune(self, db: sqlite3.Connection) -> None:
        """Remove a step's worth of old rows and give their space back; the next call goes on where this one ends."""
        now = datetime.now(timezone.utc)
        n_removed = 0
        if can_tell_age(self._max_days, now.timestamp(), self.path.with_name(f"{self.path.name}.clock")):
            n_removed = self._remove_old(db, now - timedelta(days=self._max_days))
        if not n_removed and self._is_too_large(db):
            n_removed = db.execute(
                "DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY id LIMIT ?)", (_STEP,)
            ).rowcount
        if n_removed:
            # not `execute`, which would stop after the first page
            db.executescript("PRAGMA incremental_vacuum")
        if n_removed < _STEP and not self._is_too_large(db):
            self._next_prune_s = self._clock() + _PRUNE_S

    def _remove_old(self, db: sqlite3.Connection, oldest: datetime) -> int:
        # A row from before the clock was set may only look old: it goes when a later one, with the right time, is old
        # as well. On a device that never gets the time from the network there is nothing better than what it has.
        return db.execute(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE ts < :oldest AND id <= (SELECT max(id) FROM"
            " events WHERE ts < :oldest AND (clock_synced IS NOT 0 OR :is_alone)) LIMIT :step)",
            {"oldest": utc_text(oldest), "is_alone": clock_synced() is False, "step": _STEP},
        ).rowcount


def read_events(path: Path, since: datetime | None = None, until: datetime | None = None) -> Iterator[Event]:
    """Everything logged in the file at `path` (from `since` on, before `until`; both with a time zone), in the order
    it was written.

    Works while another program writes, and reads a few rows at a time, so that a slow reader does not hold it up.

    Raises:
        HistoryError: there is no such file, it cannot be read, it is damaged, or it is no log.
    """
    with _reading(path) as db:
        last_id = 0
        while True:
            # a log of schema 1 has no such column until the daemon takes it over, which may be at any moment
            there = {row[1] for row in db.execute("PRAGMA table_info(events)")}
            columns = ", ".join(name if name != "activation" or name in there else "NULL" for name in _COLUMNS)
            rows = db.execute(
                f"SELECT id, {columns} FROM events WHERE id > ? AND {WITHIN} ORDER BY id LIMIT ?",
                (last_id, *within(since, until), _STEP),
            ).fetchall()
            if not rows:
                return
            last_id = rows[-1][0]
            yield from (_from_row(row[1:]) for row in rows)


def count_events(path: Path, since: datetime | None = None, until: datetime | None = None) -> tuple[int, str, str]:
    """How many events `read_events` would give, and the `ts` of the first and the last (empty where there is none).

    Raises:
        HistoryError: there is no such file, it cannot be read, it is damaged, or it is no log.
    """
    with _reading(path) as db:
        query = f"SELECT count(*), coalesce(min(ts), ''), coalesce(max(ts), '') FROM events WHERE {WITHIN}"
        n_events, first, last = db.execute(query, within(since, until)).fetchone()
        return n_events, first, last


WITHIN: Final = "ts >= ? AND (? IS NULL OR ts < ?)"
"""A span of time in SQL; `within` gives its three values."""


def within(since: datetime | None, until: datetime | None) -> tuple[str, str | None, str | None]:
    """The values of `WITHIN`: from `since` on and before `until`, or without a bound."""
    end = utc_text(until) if until else None
    return utc_text(since) if since else "", end, end


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The log at `path`, to be read; what goes wrong meanwhile is a `HistoryError`."""
    try:
        with closing(_open_to_read(path)) as db:
            yield db
    except FileNotFoundError:
        raise HistoryError(f"{path}: there is no log yet; `tonelight run` begins one") from None
    except OSError as error:
        raise HistoryError(f"{path}: the log cannot be read: {error.strerror}; try again with sudo") from None
    except (sqlite3.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        if "no such table" in str(error) or "not a database" in str(error):
            way_out = "it is no log of tonelight; name another file"
        elif _is_damage(error) or isinstance(error, msgspec.DecodeError):
            way_out = "it is damaged; `tonelight run` sets it aside and begins a new one"
        elif "locked" in str(error):
            way_out = "another program keeps it to itself; try again when that has ended"
        else:
            way_out = "try again with sudo"
        raise HistoryError(f"{path}: the log cannot be read: {one_line(error)}; {way_out}") from None


def write_json_lines(events: Iterable[Event], out: TextIO) -> None:
    """Write each event as one line of JSON."""
    for event in events:
        out.write(msgspec.json.encode(event).decode() + "\n")


def write_csv(events: Iterable[Event], out: TextIO) -> None:
    """Write a table with a header; the share of each emotion has a column of its own, `p_neutral` and so on."""
    rows = csv.writer(out, lineterminator="\n")
    plain = [name for name in _COLUMNS if name != "probs"]
    rows.writerow(plain + [f"p_{emotion}" for emotion in EMOTIONS])
    for event in events:
        values = [getattr(event, name) for name in plain]
        shares = [event.probs.get(emotion) for emotion in EMOTIONS]
        rows.writerow([_as_json(value) if isinstance(value, bool) else value for value in values + shares])


def parse_since(text: str, now: datetime | None = None) -> datetime:
    """The moment (UTC) meant by "90s", "30m", "2h", "1d", "2w" (ago), "today", "yesterday", or a date or time.

    Dates and times are RFC 3339 ("2026-11-20", "2026-11-20T18:30"); without a time zone they are local, and a date
    is its midnight. `now` is for tests.

    Raises:
        ConfigError: none of these.
    """
    said = text.strip()
    now = now or datetime.now(timezone.utc)
    midnight = now.astimezone().replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    days = {"today": 0, "yesterday": 1}
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    try:
        if said.lower() in days:
            return (midnight - timedelta(days=days[said.lower()])).astimezone(timezone.utc)
        if ago := re.fullmatch(r"([0-9]+)\s*([smhdw])", said, re.IGNORECASE):
            return (now - timedelta(**{units[ago[2].lower()]: int(ago[1])})).astimezone(timezone.utc)
        # before Python 3.11 `fromisoformat` does not know "Z"
        return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", said)).astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise ConfigError(
            f'"{text}" is no time since when: write 90s, 30m, 2h, 1d or 2w (ago), today, yesterday, '
            "or a date or time such as 2026-11-20 or 2026-11-20T18:30"
        ) from None


class _Damaged(sqlite3.DatabaseError):
    """What a check of the file found."""


def _is_damage(error: Exception) -> bool:
    # sqlite3 has no class of its own for it, and gives SQLite's error number only since Python 3.11; it fails to decode
    # a complaint that repeats damaged text
    return isinstance(error, (_Damaged, UnicodeDecodeError)) or any(word in str(error) for word in _DAMAGE)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _way_out(error: Exception) -> str:
    if "locked" in str(error):
        return "another program keeps it to itself, and it is tried again until that has ended"
    return "check the disk's space and the folder's owner"


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _to_row(event: Event) -> list[object]:
    return [_as_json(event.probs) if name == "probs" else getattr(event, name) for name in _COLUMNS]


def _from_row(row: tuple[object, ...]) -> Event:
    fields = dict(zip(_COLUMNS, row, strict=True))
    fields["probs"] = msgspec.json.decode(str(fields["probs"]))
    # not strict: SQLite has no booleans, only 0 and 1
    return msgspec.convert(fields, Event, strict=False)


def _open_to_read(path: Path) -> sqlite3.Connection:
    path.stat()  # says better than SQLite what is wrong
    uri = path.absolute().as_uri()
    db = sqlite3.connect(f"{uri}?mode=ro", uri=True)
    try:
        db.execute("SELECT 1 FROM events LIMIT 1")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        db.close()
        # Even to read, SQLite needs to create files beside the log, which a card mounted read-only does not allow.
        # Without a writer (it would have a -wal file) the log can be read as it lies there.
        if not isinstance(error, sqlite3.OperationalError) or Path(f"{path}-wal").exists():
            raise
        return sqlite3.connect(f"{uri}?immutable=1", uri=True)
    return db
