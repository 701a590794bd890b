"""What time it is, for everything that is handed its clock; and whether that is sure enough to remove what is old."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, Protocol

TIMESYNC: Final = Path("/run/systemd/timesync")
"""Of systemd-timesyncd, which touches `synchronized` in it whenever it has asked the network: at least once an hour."""
_DAY_S: Final = 86_400.0
_JUMP_S: Final = 7 * _DAY_S  # a clock further away from where it was has jumped, or the board was off as long
_NOTE_S: Final = 3600.0  # each note is a write to the SD card


class Clock(Protocol):
    """What time it is."""

    def monotonic(self) -> float:
        """Seconds on a clock that only runs forward."""

    def now(self) -> datetime:
        """The time of day, in UTC."""


class SystemClock:
    """The machine's own."""

    def monotonic(self) -> float:
        """Seconds since some moment before the start."""
        return time.monotonic()

    def now(self) -> datetime:
        """UTC; right only once the clock has been set from the network."""
        return datetime.now(timezone.utc)


def clock_synced() -> bool | None:
    """Whether the clock has been set from the network since boot; None where systemd-timesyncd does not run."""
    return _synchronized().exists() if TIMESYNC.is_dir() else None


def can_tell_age(days: float, now_s: float, stamp: Path) -> bool:
    """Whether what looks `days` old at `now_s` (seconds since 1970) truly is, so that it may be removed for good.

    One wrong clock must not cost what was kept for months. It is believed when the network has vouched for it within a
    day; otherwise, as on a board that never has a network, once it has run on for `days` without a jump: whatever it
    says, what was there before has grown as old by then. The file `stamp` is what is known of that, and each call, of
    which there should be one a day at least, brings it up to date. Where it cannot be kept, no age is believed.
    """
    since_s = last_s = now_s
    with suppress(OSError, ValueError):
        since_s, last_s = map(float, stamp.read_text().split())
    has_jumped = not abs(now_s - last_s) <= _JUMP_S
    if has_jumped:
        since_s = now_s
    if has_jumped or since_s == now_s or abs(now_s - last_s) >= _NOTE_S:
        new = stamp.with_name(f"{stamp.name}.new")
        with suppress(OSError):
            new.unlink(missing_ok=True)  # what a cut left there may be somebody else's
            new.write_text(f"{since_s} {now_s}")
            new.replace(stamp)
    if now_s - since_s >= days * _DAY_S:
        return True
    with suppress(OSError):
        return abs(now_s - _synchronized().stat().st_mtime) < _DAY_S
    return False


def _synchronized() -> Path:
    return TIMESYNC / "synchronized"
