"""Self-test: everything `run` needs, each with one line and, where something is missing, the way out.

A check looks and changes nothing, so that it can be made while the service runs. The one exception is the light,
which can only be tried by opening it: afterwards it is dark until it next changes.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from edge import config
from edge.config import Config
from edge.errors import TonelightError

State = Literal["ok", "warning", "broken"]

PYTHON: Final = ((3, 10), (3, 13))
LEAST_FREE_MB: Final = 200
_MB: Final = 1_000_000


class Check(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and one line about it."""

    name: str
    state: State
    message: str


def examine(config_file: Path | None) -> Iterator[Check]:
    """Yield one check after the other; those that need a configuration use the defaults where it is broken."""
    yield _python()
    yield _numpy()
    yield _guarded("runtime", _runtime)
    check, settings = _config(config_file)
    yield check
    yield _guarded("model", lambda: _model(settings))
    yield _guarded("microphone", lambda: _microphone(settings))
    yield _guarded("light", lambda: _light(settings))
    yield _guarded("log", lambda: _history(settings))
    yield _guarded("disk", lambda: _disk(settings))
    yield _clock()


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except TonelightError as error:
        return Check(name, "broken", str(error))
    except ImportError as error:
        return Check(name, "broken", f"{_one_line(error)}; install tonelight again")
    except OSError as error:
        return Check(name, "broken", f"{error.filename}: {error.strerror}; try again with sudo")


def _python() -> Check:
    found = platform.python_version()
    if not PYTHON[0] <= sys.version_info[:2] <= PYTHON[1]:
        return Check("python", "broken", f"{found}; tonelight needs 3.10 to 3.13")
    return Check("python", "ok", f"{found} on {platform.machine()}")


def _numpy() -> Check:
    try:
        import numpy
    except ImportError as error:
        return Check("numpy", "broken", f"cannot be loaded ({_one_line(error)}); pip install numpy")
    return Check("numpy", "ok", numpy.__version__)


def _runtime() -> Check:
    from edge.classifier import load_runtime

    return Check("runtime", "ok", load_runtime()[1])


def _config(file: Path | None) -> tuple[Check, Config]:
    try:
        loaded = config.load(file)
    except TonelightError as error:
        return Check("config", "broken", str(error)), Config()
    used = file or config.default_config_path()
    return Check("config", "ok", str(used) if used.exists() else f"no {used}: everything has its default"), loaded


def _model(settings: Config) -> Check:
    from edge.commands.common import bundle_of, open_pipeline

    bundle = bundle_of(settings)
    open_pipeline(bundle)
    return Check("model", "ok", f"{bundle.id} in {bundle.path}: whole, and computes here what it computed at export")


def _microphone(settings: Config) -> Check:
    from edge.commands.common import microphone_of
    from edge.sources import input_devices

    try:
        chosen = microphone_of(settings, input_devices())
    except TonelightError as error:
        # A machine without one can still listen to recordings; one that was told which to use cannot do its work.
        return Check("microphone", "broken" if settings.audio.device else "warning", str(error))
    return Check("microphone", "ok", f"{chosen.name} ({chosen.rate_hz} Hz, {chosen.host_api})")


def _light(settings: Config) -> Check:
    from edge.leds import open_backend

    open_backend(settings.leds).close()
    return Check("light", "ok", f'leds.kind = "{settings.leds.kind}"')


def _history(settings: Config) -> Check:
    path = settings.history_path
    if not settings.history.enabled:
        return Check("log", "ok", "turned off (history.enabled)")
    if not path.exists():
        folder = _existing_parent(path)
        if not os.access(folder, os.W_OK | os.X_OK):
            return Check(
                "log", "broken", f"{path} cannot be created: no write permission in {folder}; set history.path"
            )
        return Check("log", "ok", f"{path} will be created")
    for needed in (path, path.parent):  # SQLite writes files of its own beside the log
        if not os.access(needed, os.W_OK):
            return Check("log", "broken", f"{needed} cannot be written; check its owner, or set history.path")
    from edge.history import read_events

    n_bytes = sum(part.stat().st_size for part in (path, Path(f"{path}-wal")) if part.exists())
    next(read_events(path), None)  # can it be read at all?
    return Check("log", "ok", f"{path}: {n_bytes / _MB:.1f} of at most {settings.history.max_mb} MB")


def _disk(settings: Config) -> Check:
    folder = _existing_parent(settings.history_path)
    try:
        free_mb = shutil.disk_usage(folder).free / _MB
    except OSError as error:
        return Check("disk", "broken", f"{folder} cannot be examined: {error.strerror}")
    told = f"{free_mb:.0f} MB free in {folder}"
    if free_mb < 1:
        return Check("disk", "broken", f"{told}; delete something")
    if free_mb < LEAST_FREE_MB:
        return Check("disk", "warning", f"{told}; below {LEAST_FREE_MB} MB: delete something, or lower history.max_mb")
    return Check("disk", "ok", told)


def _clock() -> Check:
    is_synced = _kernel_clock_synced()
    if is_synced is None:
        return Check(
            "clock", "warning", "this system does not say whether its clock is right; compare it with `date -u`"
        )
    if not is_synced:
        return Check("clock", "warning", "not set from the network: times in the log may be wrong; see `timedatectl`")
    return Check("clock", "ok", "set from the network")


def _kernel_clock_synced() -> bool | None:
    """Whether anything (timesyncd, chrony, ntpd) keeps the kernel's clock in step; None where it cannot be asked."""

    class Timex(ctypes.Structure):
        # The kernel fills in more than anybody needs here; `modes` 0 means: only look.
        _fields_ = (("modes", ctypes.c_uint), ("rest", ctypes.c_byte * 512))

    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.byref(Timex()))
    except (AttributeError, OSError):
        return None
    unsynchronized = 5  # TIME_ERROR
    return None if state < 0 else state != unsynchronized


def _existing_parent(path: Path) -> Path:
    return next((folder for folder in path.absolute().parents if folder.exists()), Path("/"))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
