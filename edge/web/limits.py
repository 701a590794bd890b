"""What browsers may cost, and how little the page's processes matter to the board."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

ASK_S: Final = 10.0
"""Whoever connects and asks for nothing within this time is cut off."""
MAX_CLIENTS: Final = 64
"""Browsers that watch."""
MAX_BYTES: Final = 20_000_000
MAX_S: Final = 600
"""The longest recording that is analysed."""
MAX_WAITING: Final = 3
"""Recordings that are being received, wait or are analysed; a board has little memory."""
RECEIVE_S: Final = 60
ANALYSE_S: Final = 180
CPU_S: Final = 120
MEMORY_BYTES: Final = 400 << 20


def step_back(oom_score: int) -> None:
    """Let everything else go first, and be the first to go when memory is full (`oom_score` up to 1000).

    Where the service manager forbids either, its own limits hold.
    """
    with suppress(OSError):
        os.nice(10)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(oom_score))
