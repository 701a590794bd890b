"""How the daemon is, as a file for whoever asks: `doctor`, `mute`, scripts.

It lies in the runtime folder, which is memory and not the SD card, is replaced as a whole about once a second, and is
gone when the daemon has ended.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edge import config
from edge.events import Score
from edge.history import Event
from edge.observers import Health

SILENT_S: Final = 10.0
"""A daemon that has not said for so long how it is hangs."""


class Report(msgspec.Struct, frozen=True):
    """What the file says. `pid` is the daemon, `mono_s` when it was written on the clock that all processes share.

    `level_db` is that of the loudest frame since the report before, dB relative to full scale; None where nothing was
    heard. The rest is `edge.observers.Health`.
    """

    pid: int
    mono_s: float
    level_db: float | None
    health: Health

    @property
    def age_s(self) -> float:
        """Seconds since it was written."""
        return time.monotonic() - self.mono_s

    @property
    def hangs(self) -> bool:
        """Whether the daemon has not said for too long how it is."""
        return self.age_s >= SILENT_S


class HealthFile:
    """An observer that keeps the file `path` up to date."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        # made once, though it is used every second: pathlib enters the names it makes into Python's table of strings,
        # which grows with all that was ever entered, by one or two megabytes within a day
        self._new = path.with_name(f".{path.name}.new")
        self._clock = clock
        self._level_db: float | None = None

    def on_level(self, level_db: float, speaking: bool) -> None:
        """Keep the loudest."""
        self._level_db = level_db if self._level_db is None else max(self._level_db, level_db)

    def on_score(self, score: Score) -> None:
        """Not in the file: what is felt is nobody's business there."""

    def on_event(self, event: Event) -> None:
        """Not in the file either."""

    def on_health(self, health: Health) -> None:
        """Write the file anew. Where that is not possible there is none: nothing depends on it."""
        text = msgspec.json.encode(Report(os.getpid(), self._clock(), self._level_db, health))
        self._level_db = None
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._new.write_bytes(text)
            self._new.chmod(0o644)  # the unit's umask would keep it from the one who asks
            self._new.replace(self.path)

    def close(self) -> None:
        """Remove the file: nobody is there any more."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def read_report(path: Path) -> Report | None:
    """What the daemon said last; None where none runs, or none whose file may be read."""
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    # one that was killed could not clear up
    return report if report.age_s >= 0 and _is_there(report.pid) else None


def light_user() -> Report | None:
    """What the daemon said last that may hold this machine's lights: this user's, or the system's service.

    Lights belong to the machine, not to a user: who opens one that another process drives darkens it.
    """
    paths = (config.health_path(), config.SYSTEM_RUNTIME / config.health_path().name)
    return next((report for report in map(read_report, paths) if report is not None), None)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
