"""The small HTTP server behind `edge.metrics`: one page, one client at a time, nothing for strangers."""

from __future__ import annotations

import hmac
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

PATIENCE_S: Final = 2.0
"""How long a client may keep others waiting, from its first byte to its last."""


class Server(socketserver.TCPServer):
    """Serves what `page` returns at /metrics, one request at a time: no number of clients takes more than a thread.

    With a `token`, to those who show it; without, to those who ask for this machine by the name it has for itself.
    """

    allow_reuse_address = True

    def __init__(self, address: str, port: int, token: str | None, page: Callable[[], bytes]) -> None:
        """Listen. Raises OSError where that is not possible."""
        self.token = token
        self.page = page
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one client, and hang up on one that takes too long: bytes that trickle in would never time out."""
        deadline = threading.Timer(PATIENCE_S, _hang_up, (request,))
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request(request, client_address)
        finally:
            deadline.cancel()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is a bug."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = PATIENCE_S

    def do_GET(self) -> None:
        if self.server.token is None and not _is_local(self.headers.get("Host", "")):
            # a page in a browser of this machine, whose name was made to lead here
            self._answer(403, b"ask for 127.0.0.1\n")
        elif self.server.token is not None and not self._shows(self.server.token):
            self._answer(401, b"this needs the token: Authorization: Bearer ...\n", ("WWW-Authenticate", "Bearer"))
        elif self.path.partition("?")[0] != "/metrics":
            self._answer(404, b"the figures are at /metrics\n")
        else:
            self._answer(200, self.server.page(), ("Content-Type", "text/plain; version=0.0.4; charset=utf-8"))

    def _shows(self, token: str) -> bool:
        shown = self.headers.get("Authorization", "")
        return hmac.compare_digest(shown.encode("utf-8", "replace"), f"Bearer {token}".encode())

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers or (("Content-Type", "text/plain; charset=utf-8"),):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Who asks is not for the log."""


def _hang_up(client: socket.socket) -> None:
    with suppress(OSError):  # it has gone already
        client.shutdown(socket.SHUT_RDWR)


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine as seen by itself."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return name in ("localhost", "127.0.0.1", "[::1]")
