"""What happens, sent to browsers as server-sent events."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final

from starlette.types import Receive, Scope, Send

from edge.web.answers import refuse
from edge.web.limits import MAX_CLIENTS

_EVENTS: Final = 100


class Live:
    """The newest of everything, and the last events, for any number of browsers that take it at their own pace.

    Nothing is queued for anybody: each browser has a position, and gets what is newer than that when it can take it. A
    slow one so gets fewer levels and scores, never older ones.
    """

    def __init__(self, hello: bytes) -> None:
        """`hello` is JSON that everybody gets first."""
        self._hello = _sse(b"hello", hello)
        self._number = 0
        self._newest: dict[bytes, tuple[int, bytes]] = {}
        self._events: deque[tuple[int, bytes]] = deque(maxlen=_EVENTS)
        self._clients: set[asyncio.Event] = set()
        self._is_open = True
        self.health = b""
        """The daemon's last word on itself, as JSON."""

    def publish(self, message: bytes) -> None:
        """Take a message of the daemon: its kind, a newline, JSON."""
        kind, _, value = message.partition(b"\n")
        self._number += 1
        if kind == b"event":
            self._events.append((self._number, _sse(kind, value)))
        else:
            self._newest[kind] = (self._number, _sse(kind, value))
        if kind == b"health":
            self.health = value
        for wake in self._clients:
            wake.set()

    def close(self) -> None:
        """Send everybody away."""
        self._is_open = False
        for wake in self._clients:
            wake.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /api/live."""
        if len(self._clients) >= MAX_CLIENTS:
            error = f"{MAX_CLIENTS} browsers are watching already; close one of them"
            await refuse(503, error)(scope, receive, send)
            return
        wake = asyncio.Event()
        self._clients.add(wake)
        gone = asyncio.ensure_future(_until_gone(receive))
        gone.add_done_callback(lambda _: wake.set())
        try:
            headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            body, position = self._hello + self._state(), self._number
            while True:
                if body:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                if gone.done() or not self._is_open:
                    break
                await wake.wait()
                wake.clear()
                body, position = self._since(position), self._number
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._clients.discard(wake)
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone

    def _state(self) -> bytes:
        """What a newcomer has to know of the present; what was heard is in the log."""
        return b"".join(message for kind, (_, message) in self._newest.items() if kind != b"score")

    def _since(self, position: int) -> bytes:
        messages = [(n, m) for n, m in (*self._newest.values(), *self._events) if n > position]
        return b"".join(message for _, message in sorted(messages))


def _sse(kind: bytes, value: bytes) -> bytes:
    return b"event: " + kind + b"\ndata: " + value + b"\n\n"


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
