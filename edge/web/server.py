"""The page's process: `python -m edge.web.server LISTENER FEED`, started by `edge.web.page`.

LISTENER and FEED are the numbers of open sockets: the one that listens, and the one the daemon's messages come from.
When they end, so does the process.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge.labels import EMOTIONS
from edge.mute import Mute
from edge.web.access import Access
from edge.web.answers import refuse, small_body
from edge.web.limits import ASK_S, MAX_BYTES, MAX_S, step_back
from edge.web.live import Live
from edge.web.past import Past
from edge.web.setup import Setup
from edge.web.teaching import Teaching
from edge.web.uploads import Uploads

MAX_CONNECTIONS: Final = 128
"""Each takes up to some 100 kB when its browser is slow."""
_KINDS: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def build_app(setup: Setup, live: Live) -> ASGIApp:
    """Everything that can be asked for."""
    mute = Mute(Path(setup.mute))

    async def health(request: Request) -> Response:
        if not live.health:
            return refuse(503, "the daemon has not said yet how it is; try again in a moment")
        return Response(live.health, media_type="application/json")

    async def set_mute(request: Request) -> Response:
        try:
            wanted = msgspec.json.decode(await small_body(request), type=_MuteRequest)
        except msgspec.DecodeError:
            return refuse(400, 'expected {"on": true} or {"on": false}')
        try:
            await asyncio.to_thread(mute.set, wanted.on)
        except OSError as error:
            return refuse(
                500, f"{mute.path}: the mute switch cannot be set: {error.strerror}; check the folder's owner"
            )
        return JSONResponse({"on": wanted.on})

    files = {f"/{path.name}": _file(path) for path in sorted(Path(__file__).with_name("files").iterdir())}
    app = Starlette(
        routes=[
            Route("/api/live", live),
            Route("/api/history", Past(setup.history).history),
            Route("/api/analyse", Uploads(setup.bundle).analyse, methods=["POST"]),
            Route("/api/health", health),
            Route("/api/mute", set_mute, methods=["POST"]),
            *Teaching(setup, live).routes,
            Route("/", files.pop("/page.html")),
            *(Route(name, endpoint) for name, endpoint in files.items()),
        ],
        exception_handlers={HTTPException: _refused},
    )
    return Access(app, setup.token, public=frozenset(name for name in files if not name.endswith(".html")))


def hello(setup: Setup) -> bytes:
    """What a browser has to know before it can show anything, as JSON."""
    return msgspec.json.encode(
        {
            "node": setup.node,
            "version": setup.version,
            "history": bool(setup.history),
            "emotions": [{"name": name, "colour": setup.colours[name]} for name in EMOTIONS],
            "activation_colours": setup.activation_colours,
            "max_bytes": MAX_BYTES,
            "max_s": MAX_S,
        }
    )


class _MuteRequest(msgspec.Struct, forbid_unknown_fields=True):
    on: bool


def _file(path: Path) -> Any:
    """Answers with the file at `path`, or with "as you have it"."""
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=_KINDS[path.suffix])

    return answer


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "there is nothing here", 405: "this cannot be done here"}
    return refuse(error.status_code, f"{words.get(error.status_code, error.detail)}: see docs/page.md for what can be")


class _Connection(H11Protocol):
    """One of few: too many, or one that does not say what it wants, are cut off."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self.loop.call_later(ASK_S, self._be_asked)

    def _be_asked(self) -> None:
        request: object = self.cycle
        if request is None:
            self.transport.abort()


async def serve(listener: socket.socket, feed: socket.socket, setup: Setup) -> None:
    """Answer browsers until the daemon's messages end."""
    live = Live(hello(setup))
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(setup, live),
            http=_Connection,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
    )
    loop = asyncio.get_running_loop()

    def take() -> None:
        try:
            message = feed.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if message:
            live.publish(message)
        else:
            loop.remove_reader(feed)
            live.close()
            server.should_exit = True

    feed.setblocking(False)
    loop.add_reader(feed, take)
    await server.serve(sockets=[listener])


def main() -> None:
    """Read the setup from standard input, and serve."""
    step_back(500)
    setup = msgspec.json.decode(sys.stdin.buffer.read(), type=Setup)
    listener, feed = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    asyncio.run(serve(listener, feed, setup))


if __name__ == "__main__":
    main()
