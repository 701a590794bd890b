"""The `[web]` table of the configuration."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

import msgspec
from msgspec import Meta


class WebSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page: what is heard, live, in a browser."""

    enabled: Annotated[bool, Meta(description="serve the page")] = False
    host: Annotated[
        str,
        Meta(
            description="address the page is served at, a number or localhost; 127.0.0.1 = for this machine only, "
            "0.0.0.0 = for every network it is in, and then only with the token"
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65_535, description="port the page is served at")] = 8730
    token: Annotated[
        str,
        Meta(
            description="what a browser must know, 16 letters and digits or more; empty = none on 127.0.0.1, and "
            "elsewhere one that is made up once and kept in the state folder"
        ),
    ] = ""

    def __post_init__(self) -> None:
        """Raises:
        ValueError: the address or the token cannot be used.
        """
        try:
            self.address  # noqa: B018
        except ValueError:
            raise ValueError(f'host: "{self.host}" is no address: write 127.0.0.1, 0.0.0.0, or localhost') from None
        if self.token and not re.fullmatch(r"[A-Za-z0-9._~-]{16,200}", self.token):
            raise ValueError("token: expected 16 to 200 letters, digits or any of . _ ~ -")

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """`host` as a number."""
        return ipaddress.ip_address("127.0.0.1" if self.host == "localhost" else self.host)

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach the page, so that it needs no token."""
        return self.address.is_loopback
