"""Who may see the page: everybody on this machine, or whoever knows the token; and no other page on their behalf."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.web.answers import refuse

_YEAR_S: Final = 365 * 24 * 3600
_HEADERS: Final = {
    # Nothing from anywhere else, nothing inline, in no frame. blob: is the recording that somebody tries, played back.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; media-src blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # the address may hold the token
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
}
_KEYHOLE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>tonelight: token needed</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/style.css"><main class="keyhole">
<h1>tonelight</h1><p>{}</p><form action="/"><label for="token">Token</label>
<input id="token" name="token" type="password" required autofocus autocomplete="current-password">
<button>Open</button></form></main></html>"""


class Access:
    """Lets a request through to `app`, or answers it.

    Without a token, the page is for this machine: a request must be addressed to this machine by its own name, because
    a foreign site can make its own name lead here ("DNS rebinding"). With a token, whoever shows it is let in: once in
    the address (`/?token=`), from then on by a cookie, or by `Authorization: Bearer`.
    """

    def __init__(self, app: ASGIApp, token: str, public: frozenset[str]) -> None:
        """`public` are paths that everybody may read, such as the style sheet."""
        self._app = app
        self._token = token.encode()
        # Cookies do not know ports: two boards behind one name (tunnels) must not take each other's away.
        self._cookie = f"tonelight-{hashlib.sha256(self._token).hexdigest()[:8]}"
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        offered = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        invites = scope["path"] == "/" and self._is_right(offered)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    out[name] = value
                out.setdefault("cache-control", "no-store")
                if invites:
                    flags = f"Path=/; Max-Age={_YEAR_S}; HttpOnly; SameSite=Strict"
                    out["set-cookie"] = f"{self._cookie}={offered}; {flags}"
            await send(message)

        refusal = self._refusal(scope, headers, invites)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers, invites: bool) -> Response | None:
        host = headers.get("host", "")
        if not self._token and not _is_this_machine(host):
            return refuse(403, "this page is for this machine only: open it as 127.0.0.1 or localhost")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and scope["path"] != "/":
            return refuse(403, "only the page itself may ask for this, no other site")
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get("origin")  # browsers always send it; other programs do not
            if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
                return refuse(403, "only the page itself may do this, no other site")
        if not self._token or invites or scope["path"] in self._public or self._is_known(headers):
            return None
        if scope["path"] != "/":
            return refuse(401, "the token is needed: open the address with ?token= that the log of the board shows")
        wrong = b"token=" in scope["query_string"]
        why = "That is not its token." if wrong else "This light asks for its token."
        return HTMLResponse(_KEYHOLE.format(f"{why} The log of the board shows the address with it."), 401)

    def _is_known(self, headers: Headers) -> bool:
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._is_right(value.strip())
        # Not SimpleCookie: it drops all cookies when one, perhaps of another program on this host, is not to its taste.
        return self._is_right(cookie_parser(headers.get("cookie", "")).get(self._cookie, ""))

    def _is_right(self, offered: str) -> bool:
        return bool(self._token) and hmac.compare_digest(offered.encode("utf-8", "replace"), self._token)


def _is_this_machine(host: str) -> bool:
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
