"""Libraries that not everybody needs, and how to add them."""

from __future__ import annotations

import sys


def how_to_add(extra: str) -> str:
    """The command that adds what `tonelight[extra]` needs to the Python that runs: a bare `pip` is another Python's,
    or none, as soon as tonelight lives in an environment of its own."""
    return f'`{sys.executable} -m pip install "tonelight[{extra}]"`'
