"""How the page says no."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response


def refuse(status: int, error: str) -> Response:
    """One sentence that names the thing and the way out. What the other side is still sending is not read."""
    return JSONResponse({"error": error}, status, {"connection": "close"})
