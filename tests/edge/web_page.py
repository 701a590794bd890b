"""A page that is served for a test, and a plain HTTP client for it."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from edge.bundle import default_bundle_path
from edge.capture import CaptureSwitch
from edge.clips import Clips
from edge.events import Detection, Score
from edge.history import Event
from edge.labels import EMOTIONS
from edge.mute import Mute
from edge.observers import Health, Phase
from edge.web.page import Page
from edge.web.settings import WebSettings

SHIPPED = default_bundle_path()
PATIENCE_S = 60.0
"""Tests never wait so long unless something is broken."""


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@dataclass
class Client:
    """Asks a page."""

    port: int

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer; waits for a page that is only starting."""
        end_s = time.monotonic() + PATIENCE_S
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
            try:
                connection.request(method, path, body, headers or {})
                answer = connection.getresponse()
                return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
            except ConnectionRefusedError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.05)
            finally:
                connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """Status and answer, as JSON where it is that."""
        status, told, body = self.request("GET", path, None, {k.replace("_", "-"): v for k, v in headers.items()})
        return status, json.loads(body) if told.get("content-type") == "application/json" else body

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Status and answer, as JSON."""
        status, _, answer = self.request("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        return status, json.loads(answer)

    @contextmanager
    def live(self, **headers: str) -> Iterator[Iterator[tuple[str, Any]]]:
        """The server-sent events, as kind and value."""
        self.get("/")  # it is there
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/api/live", None, headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            yield _events(answer)
        finally:
            connection.close()


@dataclass
class Served(Client):
    """A page, and what it was given."""

    page: Page
    state: Path
    history: Path
    mute: Mute
    capture: CaptureSwitch
    clips: Clips


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    kind = ""
    while line := answer.readline():
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


@contextmanager
def served(folder: Path, *, has_log: bool = True, bundle: Path | None = SHIPPED, **settings: Any) -> Iterator[Served]:
    """A page on a port of its own, its state in `folder`."""
    port = settings.pop("port", None) or free_port()
    mute = Mute(folder / "mute")
    capture = CaptureSwitch(folder / "capture")
    clips = Clips(folder / "clips")
    history = folder / "history.db"
    page = Page(
        WebSettings(enabled=True, port=port, **settings),
        node="kitchen",
        state=folder,
        history=history if has_log else None,
        mute=mute,
        capture=capture,
        clips=clips,
        bundle=bundle,
        colours={"happy": "#ffee00"},
    )
    try:
        yield Served(port, page, folder, history, mute, capture, clips)
    finally:
        page.close()


def probabilities(label: str, confidence: float) -> dict[str, float]:
    """Shares of all emotions; what `label` leaves is shared evenly."""
    rest = (1 - confidence) / (len(EMOTIONS) - 1)
    return {emotion: confidence if emotion == label else rest for emotion in EMOTIONS}


def score(label: str, confidence: float = 0.8, *, is_sure: bool = True, activation: float = 0.7) -> Score:
    return Score(1.0, probabilities(label, confidence), label if is_sure else None, confidence, activation)


def event(
    label: str, confidence: float = 0.8, *, ago_s: float = 0.0, seconds: float = 2.0, uncertain: bool = False
) -> Event:
    """What was heard so long ago."""
    start_s = 100_000 - ago_s
    detection = Detection(
        start_s, start_s + seconds, label, confidence, probabilities(label, confidence), uncertain, activation=0.7
    )
    now = datetime.now(timezone.utc) - timedelta(seconds=ago_s)
    return Event.from_detection(
        detection, node="kitchen", model="tonelight-0.1.0", latency_ms=600.0, now=now, mono_s=1.0
    )


def health(phase: Phase = Phase.LISTENING, reason: str = "", n_gaps: int = 0) -> Health:
    return Health(phase, reason, "kitchen", "tonelight-0.1.0", "desk microphone", 90.0, 4500, 3, n_gaps, 8000 * n_gaps)
