"""What the C libraries below have to say: one line in an error, and nothing on the terminal."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator


def reason(error: Exception) -> str:
    """The words of a library's error, on one line and without its preface."""
    text = str(getattr(error, "error_string", "") or error)
    text = re.sub(r"^(Error opening \w+|Error : |Unspecified internal error)\s*:?\s*", "", " ".join(text.split()))
    return text.rstrip(". ")


_lock = threading.Lock()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keeps C libraries from writing to standard error: what is wrong is told once, by the error raised."""
    with _lock:
        try:
            kept = os.dup(2)
        except OSError:  # there is no standard error
            yield
            return
        try:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 2)
            os.close(nothing)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
