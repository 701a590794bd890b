"""Events taken out of the log for good, while the light may go on writing to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final

from edge.errors import HistoryError
from edge.history import SCHEMA, WITHIN, within

_STEP: Final = 200  # rows removed at once, so that the daemon need not wait for long
_PATIENCE_S: Final = 5.0  # for the daemon, or whoever else is at the file


def erase_events(path: Path, since: datetime | None = None, until: datetime | None = None) -> int:
    """Remove what was logged from `since` on and before `until` (both with a time zone); returns how many events.

    Their bytes are overwritten, in the file and in the write-ahead log beside it, and the file shrinks. What was on
    the card below the file, in blocks that the card or its file system has put aside, is out of any program's reach.

    Raises:
        HistoryError: there is no such file, it is no log, it cannot be written, or somebody reads it all the time.
            Some of the events may be gone by then; to do it again does the rest.
    """
    try:
        path.stat()  # says better than SQLite what is wrong
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_PATIENCE_S, isolation_level=None)
        ) as db:
            if not 0 < db.execute("PRAGMA user_version").fetchone()[0] <= SCHEMA:
                raise HistoryError(f"{path}: nothing was deleted: it is no log of this version of tonelight")
            return _erase(db, path, since, until)
    except FileNotFoundError:
        raise HistoryError(f"{path}: there is no log yet, and nothing to delete") from None
    except OSError as error:
        if isinstance(error, HistoryError):
            raise
        raise HistoryError(f"{path}: the log cannot be changed: {error.strerror}; try again with sudo") from None
    except sqlite3.Error as error:
        if "locked" in str(error):
            way_out = "another program keeps it to itself; try again when that has ended"
        elif "malformed" in str(error) or "not a database" in str(error):
            way_out = "it is damaged; `tonelight run` sets it aside and begins a new one"
        else:
            way_out = "try again with sudo, and check the disk's space"
        raise HistoryError(f"{path}: the log cannot be changed: {error}; {way_out}") from None


def _erase(db: sqlite3.Connection, path: Path, since: datetime | None, until: datetime | None) -> int:
    # what is removed is overwritten with zeros, not only marked as free
    db.execute("PRAGMA secure_delete = ON").fetchone()
    n_erased = 0
    while True:
        n_rows = db.execute(
            f"DELETE FROM events WHERE id IN (SELECT id FROM events WHERE {WITHIN} LIMIT ?)",
            (*within(since, until), _STEP),
        ).rowcount
        if not n_rows:
            break
        n_erased += n_rows
    # not `execute`, which would stop after the first page
    db.executescript("PRAGMA incremental_vacuum")
    # Until here, the write-ahead log still holds the events as they were written.
    is_busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if is_busy:
        raise HistoryError(
            f"{path}: {n_erased} events were deleted, but traces of them are left in {path.name}-wal, as another "
            "program reads the log; delete the same again when that has ended"
        )
    return n_erased
