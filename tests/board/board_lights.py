"""The service as it is installed, but for its light, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from board_machine import Machine

# until the next boot at the latest
OTHER = """set -e
mkdir -p /run/systemd/system/tonelight.service.d
cat >/run/systemd/system/tonelight.service.d/light.conf <<'END'
[Service]
%(environment)s
ExecStart=
ExecStart=/opt/tonelight/bin/tonelight run --config /run/board/light.toml
END
sed '/^\\[leds\\]/,$d' /etc/tonelight/config.toml >/run/board/light.toml
cat >>/run/board/light.toml <<'END'
%(leds)s
END
systemctl daemon-reload
systemctl restart tonelight
"""
BACK = """rm /run/systemd/system/tonelight.service.d/light.conf
systemctl daemon-reload
systemctl restart --no-block tonelight
"""


@contextmanager
def other_lights(board: Machine, leds: str, **environment: str) -> Iterator[None]:
    """`leds` is that part of its configuration."""
    named = "".join(f"Environment={name}={value}\n" for name, value in environment.items())
    board.run(OTHER % {"leds": leds, "environment": named})
    try:
        yield
    finally:
        board.run(BACK)
