"""The output half of libgpiod's Python interface (version 2), on lines that exist only here.

A working implementation of what is documented, errors included; `log` keeps every change of a line as the voltage sees
it. The real library drives real lines in the test on an emulated board. `broken` lines fail like a chip that has gone.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from gpiod import line

CHIP, N_LINES = "/dev/gpiochip0", 54

log: list[tuple[int, str, int]] = []  # (line, "out", high) or (line, "free", high)
broken: set[int] = set()
used: dict[int, str] = {}


@dataclass
class LineSettings:
    direction: line.Direction
    active_low: bool
    output_value: line.Value


class LineRequest:
    def __init__(self, config: dict[int, LineSettings]) -> None:
        self._config = config
        for offset, settings in config.items():
            self.set_value(offset, settings.output_value)

    def set_value(self, offset: int, value: line.Value) -> None:
        if offset in broken:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        log.append((offset, "out", int((value is line.Value.ACTIVE) != self._config[offset].active_low)))

    def release(self) -> None:
        for offset in self._config:
            del used[offset]
            log.append((offset, "free", next(high for number, _, high in reversed(log) if number == offset)))


def request_lines(path: str, *, consumer: str, config: dict[int, LineSettings]) -> LineRequest:
    if path != CHIP:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    for offset in config:
        if offset >= N_LINES:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if offset in used:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    used.update(dict.fromkeys(config, consumer))
    return LineRequest(config)
