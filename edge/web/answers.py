"""What the page takes, and how it says no."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from edge.web.limits import ASK_S

_MAX_BYTES = 1000


def refuse(status: int, error: str) -> Response:
    """One sentence that names the thing and the way out. What the other side is still sending is not read."""
    return JSONResponse({"error": error}, status, {"connection": "close"})


async def small_body(request: Request) -> bytes:
    """What a request of a few words says.

    Raises:
        msgspec.DecodeError: it is too long, too slow, or not all there.
    """
    try:
        return await asyncio.wait_for(_body(request), ASK_S)
    except (asyncio.TimeoutError, ClientDisconnect):
        raise msgspec.DecodeError("not all there") from None


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_BYTES:
            raise msgspec.DecodeError("too long")
    return body
