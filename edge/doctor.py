"""Self-test: everything `run` needs, each with one line and, where something is missing, the way out.

A check looks and changes nothing, so that it can be made while the service runs, and what a running one says of itself
is taken for what it hears and for how its light is. Without one, the microphone is listened to for a moment, unless it
is muted, and the light is opened, which leaves it dark.
"""

from __future__ import annotations

import ctypes
import grp
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from edge import config
from edge.config import Config
from edge.errors import ConfigError, TonelightError

if TYPE_CHECKING:
    from edge.health import Report

State = Literal["ok", "warning", "broken"]

PYTHON: Final = ((3, 10), (3, 13))
LEAST_FREE_MB: Final = 200
LISTEN_S: Final = 1.0
BEARABLE_LOSS: Final = 0.001
"""Share of the sound that may be lost over months without anybody's fault."""
FAINT_DB: Final = -85.0
"""Below this, what a microphone gives is its own noise at best: even a silent room is louder."""
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
    yield _guarded("capture", lambda: _capture(settings))
    if settings.mqtt.enabled:
        yield _guarded("mqtt", lambda: _mqtt(settings))
    if settings.metrics.enabled:
        yield _guarded("metrics", lambda: _metrics(settings))
    if settings.web.enabled:
        yield _guarded("page", lambda: _page(settings))
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
    from edge.health import read_report
    from edge.mute import Mute
    from edge.sources import input_devices

    report = read_report(config.health_path())
    if report is not None:
        return _microphone_in_use(report)
    try:
        chosen = microphone_of(settings, input_devices())
        told = f"{chosen.name} ({chosen.rate_hz} Hz, {chosen.host_api})"
        if Mute(config.mute_path()).is_on:
            return Check("microphone", "ok", f"{told}: muted, so not listened to now; `tonelight unmute` ends that")
        return _listened_to(settings, told)
    except TonelightError as error:
        # A machine without one can still listen to recordings; one that was told which to use cannot do its work.
        return Check("microphone", "broken" if settings.audio.device else "warning", f"{error}{_why()}")


def _microphone_in_use(report: Report) -> Check:
    """What the tonelight that runs has said of it: it may well be the only one that can open it."""
    from edge.observers import Phase

    health = report.health
    if report.hangs:
        return Check(
            "microphone",
            "broken",
            f"the tonelight that runs (process {report.pid}) hangs: it has said nothing for {report.age_s:.0f} s; "
            "sudo systemctl restart tonelight",
        )
    lost = f"{health.n_lost / 16_000:.2f} s of sound lost in {health.n_gaps} gaps since its start"
    if health.phase is Phase.FAULT:
        return Check("microphone", "broken", f"{health.reason} (tonelight runs, and tries it again; {lost})")
    if health.phase is Phase.MUTED:
        return Check("microphone", "ok", f"muted: tonelight runs and has closed it, until `tonelight unmute`; {lost}")
    if health.phase is Phase.STARTING:
        return Check("microphone", "ok", "tonelight runs, and waits for the first sound")
    level = "" if report.level_db is None else f"; level now {report.level_db:.0f} dB"
    is_much = health.n_lost / 16_000 > BEARABLE_LOSS * health.uptime_s
    state: State = "warning" if is_much else "ok"
    way_out = ": this machine is too busy, or the connection is bad" if is_much else ""
    return Check("microphone", state, f"tonelight listens to {health.microphone}{level}; {lost}{way_out}")


def _listened_to(settings: Config, told: str) -> Check:
    """Raises SourceError: it cannot be opened, or gives nothing."""
    import numpy as np

    from edge.framing import level_db, means
    from edge.sources import SAMPLE_RATE_HZ, MicrophoneSource

    n_samples, loudest_db = 0, -100.0
    with MicrophoneSource(settings.audio.device, settings.audio.block_ms) as source:
        while n_samples < LISTEN_S * SAMPLE_RATE_HZ:
            samples = source.read(2.0).samples[np.newaxis]
            n_samples += samples.size
            loudest_db = max(loudest_db, float(level_db(samples, means(samples))[0]))
        if source.stuck_s > 0.9 * LISTEN_S:
            return Check(
                "microphone",
                "warning",
                f"{told} gives no sound, only one and the same value; is it switched off or muted at a switch of its "
                "own, or its cable broken?",
            )
    if loudest_db < FAINT_DB:
        return Check("microphone", "warning", f"{told} is very faint, {loudest_db:.0f} dB; turn it up in `alsamixer`")
    return Check("microphone", "ok", f"{told}, level now {loudest_db:.0f} dB")


def _why() -> str:
    """More about a microphone that is not there for this user."""
    if os.geteuid() != 0 and os.path.lexists(config.SYSTEM_RUNTIME):
        return "; tonelight runs as a service here, and may have it: sudo tonelight doctor"
    return _not_allowed(Path("/dev/snd"))


def _not_allowed(folder: Path) -> str:
    """What keeps this user from all microphones: the group that owns them. Empty where nothing does."""
    captures = sorted(folder.glob("pcmC*D*c"))
    if not captures or any(os.access(path, os.R_OK | os.W_OK) for path in captures):
        return ""
    group_id = captures[0].stat().st_gid
    try:
        group = grp.getgrgid(group_id).gr_name
    except KeyError:
        group = str(group_id)
    return f"; this user may not open it: sudo usermod -aG {group} $USER, and log in again"


def _light(settings: Config) -> Check:
    from edge.health import light_user
    from edge.leds import open_backend

    report = light_user()
    if report is not None:
        return _light_in_use(report)
    open_backend(settings.leds).close()
    return Check("light", "ok", f'leds.kind = "{settings.leds.kind}"')


def _light_in_use(report: Report) -> Check:
    """To open it would take it from the tonelight that runs, whose light would be dark from then on."""
    if report.hangs:
        return Check("light", "warning", f"not known: the tonelight that runs (process {report.pid}) hangs")
    if report.health.light_fault:
        return Check("light", "broken", f"{report.health.light_fault} (tonelight runs, and tries it again)")
    return Check("light", "ok", f"the tonelight that runs (process {report.pid}) drives it")


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


def _capture(settings: Config) -> Check:
    """Whether clips of speech are kept now, could be, and how many there are."""
    from edge.capture import CaptureSwitch
    from edge.clips import Clips
    from edge.commands.capture import in_words
    from edge.health import read_report

    clips = Clips(config.clips_path())
    found = clips.all()
    n_named = sum(clip.about.emotion is not None for clip in found)
    told = f"{len(found)} of at most {settings.capture.max_clips} clips in {clips.folder}, {n_named} named"
    report = read_report(config.health_path())
    left_s = CaptureSwitch(config.capture_path()).left_s
    if left_s > 0:
        if report is None:
            return Check("capture", "ok", f"on for {in_words(left_s)}, as soon as tonelight runs; {told}")
        if report.health.capturing_s > 0:
            return Check("capture", "ok", f"on: clips of speech are kept for {in_words(left_s)}; {told}")
        return Check(
            "capture",
            "warning",
            "switched on, but the tonelight that runs keeps nothing: it is muted, or its light does not work or cannot "
            f"show it; {told}",
        )
    if not settings.leds.can_show_capturing:
        return Check(
            "capture",
            "ok",
            f'off, and cannot be switched on, as leds.kind = "{settings.leds.kind}" here cannot show it; {told}',
        )
    return Check("capture", "ok", f"off: no sound is kept; {told}")


def _mqtt(settings: Config) -> Check:
    """What `run` would not start without; whether the broker answers is no reason not to listen."""
    from edge.mqtt import make_client

    make_client(settings.mqtt, settings.node_name)
    return Check("mqtt", "ok", f"ready to tell the broker {settings.mqtt.host}:{settings.mqtt.port_number}")


def _metrics(settings: Config) -> Check:
    from edge.metrics import check_library, read_token

    check_library()
    try:
        read_token(settings.metrics)
    except ConfigError as error:
        if settings.metrics.token_file or "CREDENTIALS_DIRECTORY" in os.environ:
            raise
        # systemd hands it to the service and to nobody else
        return Check("metrics", "warning", f"{error} (a service that has the credential metrics-token needs no file)")
    return Check("metrics", "ok", f"ready to be served at {settings.metrics.address}, port {settings.metrics.port}")


def _page(settings: Config) -> Check:
    from edge.web.page import check_libraries

    check_libraries()
    return Check("page", "ok", f"ready to be served at {settings.web.host}, port {settings.web.port}")


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
