"""Processes that work on many recordings at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes started in here never hear Ctrl-C: it goes to the whole terminal, and each would print a traceback.

    Their parent is interrupted all the same, at the latest at the end of this block, and ends them in good order.
    """
    # blocked, not ignored: what is blocked waits, and the children inherit the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
