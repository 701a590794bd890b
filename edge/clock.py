"""What time it is, for everything that is handed its clock."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Protocol


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
