"""`tonelight run`."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

import msgspec

from edge import config
from edge.bundle import Bundle, load_bundle
from edge.button import Buttons
from edge.capture import CaptureSwitch
from edge.clips import Clips
from edge.clock import SystemClock
from edge.commands.common import microphone_of, open_pipeline
from edge.config import Config
from edge.daemon import Daemon
from edge.errors import SourceError
from edge.health import HealthFile
from edge.history import History
from edge.leds import open_lights
from edge.metrics import MetricsObserver
from edge.mqtt import MqttObserver
from edge.mute import Mute
from edge.observers import Observer
from edge.pipeline import Pipeline
from edge.probation import Probation
from edge.recorder import Recorder
from edge.reload import Reload, Request
from edge.sources import FileSource, MicrophoneSource, Source, input_devices
from edge.store import Store
from edge.view import View
from edge.web.page import Page

log = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Listen until stopped, until the recording is over, or until it was silent for long enough.

    Raises:
        TonelightError: the configuration, the model, the light, PortAudio or the recording cannot be used.
    """
    view = View(colours=config.load(args.config).leds.colours) if args.view else None
    with _log_to_stderr(view), _stop_on_signals() as stop, _reload_on_hangup() as request:
        loaded = _load(args)
        # What the bundle is not to blame for comes first.
        mute = Mute(config.mute_path())
        has_page = loaded.web.enabled or args.page
        open_source = _source(args.source, loaded, mute, realtime=not args.fast, has_page=has_page)
        observers = _observers(args, loaded, mute)
        if view is not None:
            observers.append(view)
        history = None
        if loaded.history.enabled:
            history = History(loaded.history_path, loaded.history.max_mb, loaded.history.max_days)
        store = Store()
        probation = Probation(store, request.make)
        bundle, pipeline = _listener(args.bundle, loaded, probation)
        lights = open_lights(loaded.leds)
        clips = Clips(config.clips_path())
        recorder = Recorder(CaptureSwitch(config.capture_path()), clips, loaded.capture, has_view=view is not None)
        with closing(Buttons(mute, clips)) as buttons:
            buttons.fit(loaded)
            reload = Reload(
                request,
                loaded=loaded,
                bundle=bundle,
                lights=lights,
                buttons=buttons,
                history=history,
                recorder=recorder,
                read=lambda: _load(args),
                look=lambda fresh: load_bundle(_named(args.bundle, fresh) or store.active_path),
                open_bundle=lambda fresh: _listener(args.bundle, fresh, probation),
            )
            Daemon(
                open_source=open_source,
                pipeline=pipeline,
                lights=lights,
                history=history,
                clock=SystemClock(),
                stop=stop,
                node=loaded.node_name,
                model=bundle.id,
                stop_after_silence_s=loaded.stop_after_silence_s,
                observers=[HealthFile(config.health_path()), probation, *observers],
                mute=mute,
                reload=reload,
                recorder=recorder,
            ).run()
        probation.end()
    return 0


def _load(args: argparse.Namespace) -> Config:
    """The configuration; with --view, the light has no line of its own in the terminal.

    Raises:
        ConfigError: it cannot be used.
    """
    loaded = config.load(args.config)
    if not args.view or loaded.leds.kind != "terminal":
        return loaded
    return msgspec.structs.replace(loaded, leds=msgspec.structs.replace(loaded.leds, kind="none"))


def _listener(chosen: Path | None, loaded: Config, probation: Probation) -> tuple[Bundle, Pipeline]:
    """The bundle in folder `chosen`, else the one that is configured, else the activated one; and its pipeline.

    Only the last one is on probation: whoever named a folder wants that one and no other.

    Raises:
        BundleError: it is missing, damaged or unknown, or computes something else here than it did at export.
    """
    named = _named(chosen, loaded)
    if named is None:
        return probation.begin(_open)
    opened = _open(named)
    probation.end()  # of the one before, at a reload
    return opened


def _named(chosen: Path | None, loaded: Config) -> Path | None:
    """The folder that somebody named; None for the activated bundle."""
    return Path(loaded.model.bundle) if chosen is None and loaded.model.bundle else chosen


def _open(folder: Path) -> tuple[Bundle, Pipeline]:
    bundle = load_bundle(folder)
    return bundle, open_pipeline(bundle)


def _observers(args: argparse.Namespace, loaded: Config, mute: Mute) -> list[Observer]:
    """MQTT, metrics and the page, where they are asked for.

    Raises:
        ConfigError: a library is not installed, or a file, an address or the name of this device cannot be used.
    """
    observers: list[Observer] = []
    if loaded.mqtt.enabled:
        observers.append(MqttObserver(loaded.mqtt, node=loaded.node_name, mute=mute))
    if loaded.metrics.enabled:
        observers.append(MetricsObserver(loaded.metrics, node=loaded.node_name))
    if loaded.web.enabled or args.page:
        observers.append(
            Page(
                loaded.web,
                node=loaded.node_name,
                state=config.state_dir(),
                history=loaded.history_path if loaded.history.enabled else None,
                mute=mute,
                capture=CaptureSwitch(config.capture_path()),
                clips=Clips(config.clips_path()),
                bundle=_named(args.bundle, loaded),
                colours=loaded.leds.colours,
            )
        )
    return observers


def _source(wanted: str, loaded: Config, mute: Mute, realtime: bool, has_page: bool) -> Callable[[], Source]:
    """How to open what --source asks for. A recording is opened here, so that trouble with it is the first thing said.

    The demo recording in place of a microphone goes on for as long as there is a page: whoever opens that in a browser
    comes when it would be half over.

    Raises:
        AudioError: the recording cannot be read.
        SourceError: PortAudio is missing; waiting for a microphone would be in vain.
    """
    device, block_ms = loaded.audio.device, loaded.audio.block_ms
    again = False
    if wanted == "auto":
        try:
            if mute.is_on:
                microphone_of(loaded, input_devices())
            else:
                # Some sound cards exist only in a configuration file: what counts is that one delivers.
                with MicrophoneSource(device, block_ms) as microphone:
                    microphone.read(2.0)
            wanted = "mic"
        except SourceError as error:
            log.warning("%s", error)
            again = realtime and has_page
            until = ", again and again until Ctrl-C" if again else ""
            log.warning("playing the demo recording that comes with tonelight instead%s", until)
            wanted = str(config.demo_path())
    if wanted == "mic":
        input_devices()
        return lambda: MicrophoneSource(device, block_ms)
    FileSource(wanted, block_ms).close()
    return lambda: FileSource(wanted, block_ms, realtime, again)  # after a mute, it begins anew


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second one of them ends the program at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _reload_on_hangup() -> Iterator[Request]:
    """Set by SIGHUP where a service manager runs this, as it can mean nothing else there.

    Otherwise it means that the terminal has been closed: an end in good order, unless `nohup` forbids even that.
    """
    request = Request()

    def on_hangup(number: int, frame: FrameType | None) -> None:
        request.make()

    before = signal.getsignal(signal.SIGHUP)
    if "NOTIFY_SOCKET" in os.environ:
        signal.signal(signal.SIGHUP, on_hangup)
    elif before is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    try:
        yield request
    finally:
        signal.signal(signal.SIGHUP, before)


class _Sentence(logging.Formatter):
    """For somebody who watches: no level, unless something is wrong."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname.lower()}: {record.message}"
        return super().formatMessage(record)


class _ToView(logging.Handler):
    """For somebody who watches the view."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        self._view.tell(self.format(record))


def _own_stderr() -> TextIO:
    """Standard error by a descriptor of the log's own: while C libraries are hushed (`quiet_stderr`), the usual one
    leads nowhere, and what other threads told just then, once, would be lost."""
    try:
        if sys.stderr.fileno() == 2:
            encoding = sys.stderr.encoding
            return os.fdopen(os.dup(2), "w", buffering=1, encoding=encoding, errors="backslashreplace")
    except OSError:  # something that is no file
        pass
    return sys.stderr


@contextmanager
def _log_to_stderr(view: View | None) -> Iterator[None]:
    """Send the log to stderr: with the time unless the journal adds it, and not into what is drawn in a terminal.

    What belongs into the terminal of a `view` is shown there, and follows on stderr once the view has been closed.
    """
    is_terminal = sys.stderr.isatty()
    stream = _own_stderr()
    handler: logging.Handler = logging.StreamHandler(stream)
    if is_terminal and view is not None:
        handler = _ToView(view)
        handler.setFormatter(_Sentence("%(asctime)s  %(message)s", "%H:%M:%S"))
    elif is_terminal:
        # "\r\x1b[K" empties the line that the light is drawn in
        handler.setFormatter(_Sentence("\r\x1b[K%(asctime)s  %(message)s", "%H:%M:%S"))
    else:
        time = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
        handler.setFormatter(logging.Formatter(f"{time}%(levelname)s %(message)s"))
    root = logging.getLogger("edge")
    level = root.level
    root.addHandler(handler)
    # Somebody who watches wants to see each stretch of speech; a journal need not know what was felt when.
    root.setLevel(logging.DEBUG if is_terminal and view is None else logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        if stream is not sys.stderr:
            stream.close()
        if view is not None:
            view.close()  # also when nothing came to be heard
            for message in view.messages:
                print(message, file=sys.stderr)
