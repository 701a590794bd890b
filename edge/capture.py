"""The switch that has the board keep clips of speech for a while, to be taught by them.

It is off unless somebody moved it by hand, for a time that ends by itself. No configuration, no message from a network
and no start of the board can switch it on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edge.errors import ConfigError

DEFAULT_S: Final = 1800.0
"""How long it stays on when nobody says for how long."""
MAX_S: Final = 86_400.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def since_boot_s() -> float:
    """Seconds since the board started, sleep included: no setting of the clock can prolong what counts by it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _Until(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boot: str
    end_s: float


class CaptureSwitch:
    """The switch kept in the file `path`, with the moment of its end. A restart of the board ends it, too.

    Whatever is wrong with the file, it is off: when in doubt, nothing is kept.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = since_boot_s) -> None:
        """`clock` is one that starts with the board and is shared by all processes; another one is for tests."""
        self.path = path
        self._clock = clock

    @property
    def left_s(self) -> float:
        """For how many seconds it is still on; 0 when it is off."""
        try:
            until = msgspec.json.decode(self.path.read_bytes(), type=_Until)
            left_s = until.end_s - self._clock()
            return left_s if until.boot == _boot_id() and 0 < left_s <= MAX_S else 0.0
        except (OSError, ValueError):  # of msgspec, too
            return 0.0

    def set(self, for_s: float) -> None:
        """Switch it on for so many seconds (at most `MAX_S`) from now, or off with 0.

        Raises:
            OSError: the state folder cannot be written.
        """
        if for_s <= 0:
            self.path.unlink(missing_ok=True)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f".{self.path.name}.new")
        new.unlink(missing_ok=True)  # what a cut left there may be somebody else's
        new.write_bytes(msgspec.json.encode(_Until(_boot_id(), self._clock() + min(for_s, MAX_S))))
        new.replace(self.path)


def _boot_id() -> str:
    return _BOOT_ID.read_bytes().decode().strip()


def parse_duration(text: str) -> float:
    """Seconds meant by "90s", "30m" or "2h".

    Raises:
        ConfigError: it is written in another way, or is none of 10 seconds to 24 hours.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    said = re.fullmatch(r"([0-9]{1,6})\s*([smh])", text.strip(), re.IGNORECASE | re.ASCII)
    seconds = int(said[1]) * units[said[2].lower()] if said else 0.0
    if not 10 <= seconds <= MAX_S:
        raise ConfigError(f'"{text}" is no time that clips can be kept for: write 90s, 30m or 2h; at most 24h')
    return seconds
