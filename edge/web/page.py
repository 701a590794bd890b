"""The daemon's side of the page: an observer, and the thread that keeps the page's process running."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from edge import __version__
from edge.capture import CaptureSwitch
from edge.clips import Clips
from edge.errors import ConfigError
from edge.events import Score
from edge.extras import how_to_add
from edge.history import Event
from edge.leds.base import COLOURS, Rgb, activation_colour
from edge.mute import Mute
from edge.observers import Health
from edge.web.settings import WebSettings
from edge.web.setup import Setup

log = logging.getLogger(__name__)

LEVEL_S: Final = 0.07
"""The level is told at most this often: often enough for the eye."""
RETRY_S: Final = (1.0, 5.0, 30.0)
"""Waits before the page is tried again; the last one repeats."""
END_S: Final = 0.8
"""How long the page's process may take to end."""
_HEALTHY_S: Final = 60.0  # a page that ran so long is tried again soon
USER_TIMEOUT_MS: Final = 20_000
_KEPT: Final = 64  # events that wait for a page that is busy or starting


class Page:
    """An observer that shows what happens to browsers. Making one starts it; `close` ends it.

    What the page cannot take at once is dropped (levels, scores, health: the next one is there soon) or kept (the last
    events); nothing ever waits. A page that cannot be served is reported once and tried again.

    Args:
        state: folder where a token that was made up is kept.
        history: file of the log; None where none is kept.
        bundle: folder of the bundle that recordings are analysed with; None for the one that is active by then.
        colours: other colours for emotions than the light's usual ones, "#rrggbb".

    Raises:
        ConfigError: what serves the page is not installed.
    """

    def __init__(
        self,
        settings: WebSettings,
        *,
        node: str,
        state: Path,
        history: Path | None,
        mute: Mute,
        capture: CaptureSwitch,
        clips: Clips,
        bundle: Path | None,
        colours: Mapping[str, str],
    ) -> None:
        check_libraries()
        self._settings = settings
        self._setup = Setup(
            node=node,
            version=__version__,
            token=_token(settings, state / "page-token"),
            history=str(history.absolute()) if history else "",
            mute=str(mute.path.absolute()),
            capture=str(capture.path.absolute()),
            clips=str(clips.folder.absolute()),
            bundle=str(bundle.absolute()) if bundle else "",
            colours={**COLOURS, **colours},
            activation_colours=[_text_of(activation_colour(step / 4)) for step in range(5)],
        )
        # The process runs in another folder, and looks for the active bundle by itself.
        self._environment = {**os.environ, "STATE_DIRECTORY": str(state.absolute())}
        # Whole messages in their order, or "would block"; it outlives a page that has to be started again.
        self._feed, self._page_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._feed.setblocking(False)
        self._waiting: deque[bytes] = deque(maxlen=_KEPT)
        self._peak_db = -200.0
        self._next_level_s = float("-inf")
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._reported = ""
        # not in the thread: what is in the way is said before anything is heard
        self._listener = self._open()
        self._keeper = threading.Thread(target=self._keep, name="page", daemon=True)
        self._keeper.start()

    @property
    def url(self) -> str:
        """What to open in a browser, with the token where one is needed."""
        host = _name(self._settings)
        return f"http://{host}:{self._settings.port}/" + (f"?token={self._setup.token}" if self._setup.token else "")

    def on_level(self, level_db: float, speaking: bool) -> None:
        """The loudest since the last one told."""
        self._peak_db = max(self._peak_db, level_db)
        now_s = time.monotonic()
        if now_s >= self._next_level_s:
            self._next_level_s = now_s + LEVEL_S
            self._send("level", {"level_db": round(self._peak_db, 1), "speaking": speaking})
            self._peak_db = -200.0

    def on_score(self, score: Score) -> None:
        """What it sounds like at this moment."""
        self._send("score", score)

    def on_event(self, event: Event) -> None:
        """Kept until the page takes it."""
        self._waiting.append(_message("event", event))
        self._flush()

    def on_health(self, health: Health) -> None:
        """How the daemon is."""
        self._send("health", health)

    def close(self) -> None:
        """End the page's process."""
        self._closing.set()
        self._feed.close()  # the end of all messages is what tells the process to end
        self._keeper.join(END_S)
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        self._page_end.close()

    def _send(self, kind: str, value: Any) -> None:
        if self._flush():
            self._offer(_message(kind, value))

    def _flush(self) -> bool:
        """Hand over what waits; whether nothing waits any more."""
        while self._waiting:
            if not self._offer(self._waiting[0]):
                return False
            self._waiting.popleft()
        return True

    def _offer(self, message: bytes) -> bool:
        try:
            self._feed.send(message)
        except OSError:  # full, because the page is busy or being started
            return False
        return True

    def _keep(self) -> None:
        """Start the page's process, and start it again when it has ended. Runs in a thread of its own."""
        n_failures = 0
        while not self._closing.is_set():
            started_s = time.monotonic()
            if self._listener is not None:
                self._report(self._serve(self._listener))
            if time.monotonic() - started_s > _HEALTHY_S:
                n_failures = 0
            self._closing.wait(RETRY_S[min(n_failures, len(RETRY_S) - 1)])
            n_failures += 1
            if self._listener is None and not self._closing.is_set():
                self._listener = self._open()
        if self._listener is not None:
            self._listener.close()

    def _open(self) -> socket.socket | None:
        """A socket that listens where the settings say, or None; either is said in the log."""
        try:
            listener = _listen(self._settings)
        except OSError as error:
            where = f"{self._settings.host}:{self._settings.port}"
            why = error.strerror or error
            self._report(f"the page cannot be served at {where}: {why}; set web.host or web.port, or end who is there")
            return None
        log.info("the page is at %s", self.url)
        return listener

    def _report(self, fault: str) -> None:
        """Say it once, not at every attempt."""
        if fault != self._reported and not self._closing.is_set():
            log.error("%s (it is tried again; everything else goes on)", fault)
            self._reported = fault

    def _serve(self, listener: socket.socket) -> str:
        """Run the page's process until it ends; why it did, in one line."""
        fds = (listener.fileno(), self._page_end.fileno())
        try:
            self._process = process = subprocess.Popen(
                [sys.executable, "-m", "edge.web.server", *map(str, fds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=fds,
                cwd="/",  # -m imports from the current folder first, and whoever owns that must not be run here
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the daemon, which then ends the page
            )
        except OSError as error:
            why = error.strerror or error
            return f"the page cannot be started: {why}; is there too little memory, or are there too many processes?"
        assert process.stdin is not None and process.stderr is not None
        last = ""
        try:
            process.stdin.write(msgspec.json.encode(self._setup))
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended at once; what it said about that follows
        for line in process.stderr:
            last = line.decode("utf-8", "replace").strip() or last
            log.debug("page: %s", last)
        process.stderr.close()
        status = process.wait()
        return f"the page has ended ({last or f'status {status}'})"


def check_libraries() -> None:
    """Raises:
    ConfigError: what serves the page is not installed.
    """
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the page needs {' and '.join(missing)}: {how_to_add('web')}, or leave web.enabled false")


def _text_of(colour: Rgb) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


def _message(kind: str, value: Any) -> bytes:
    return kind.encode() + b"\n" + msgspec.json.encode(value)


def _listen(settings: WebSettings) -> socket.socket:
    """A socket that listens as `settings` ask.

    Raises:
        OSError: it cannot, for instance because somebody else does.
    """
    family = socket.AF_INET6 if settings.address.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Whoever takes nothing for so long, or has left without a word, is cut off: connections are few.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        listener.bind((str(settings.address), settings.port))
        listener.listen(64)
    except BaseException:
        listener.close()
        raise
    return listener


def _name(settings: WebSettings) -> str:
    """How a browser reaches the page."""
    if not settings.address.is_unspecified:
        return f"[{settings.address}]" if settings.address.version == 6 else str(settings.address)
    try:
        # No packet is sent: it only asks from which address one would be.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            asked.connect(("192.0.2.1", 9))
            return str(asked.getsockname()[0])
    except OSError:
        return socket.gethostname()


def _token(settings: WebSettings, kept: Path) -> str:
    """The token that is asked for: the configured one, none, or one that is made up and kept in the file `kept`."""
    if settings.token or settings.is_private:
        return settings.token
    try:
        if token := kept.read_text(encoding="ascii", errors="replace").strip():
            return token
    except OSError:
        pass  # there is none yet, or it cannot be read: make one
    import secrets  # brings OpenSSL into memory (edge/digest.py), and this is needed once

    token = secrets.token_urlsafe(24)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.unlink(missing_ok=True)
        with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token + "\n")
    except OSError as error:
        log.warning("%s: the page's token cannot be kept (%s): the next start makes a new one", kept, error.strerror)
    return token
