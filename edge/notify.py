"""What the service manager is told: ready, alive, status, stopping (the protocol of sd_notify(3)).

Everything here does nothing, and says so by returning False, where no service manager listens: the program then runs
by hand. Feed the watchdog only from the loop that does the work, after a block got through or while it waits for its
microphone and says so: one that is fed by a thread of its own proves nothing.
"""

from __future__ import annotations

import os
import socket
import time


def ready(status: str = "") -> bool:
    """The program does its work now (also: again, after `reloading`)."""
    return _send("READY=1", *_status(status))


def reloading() -> bool:
    """The configuration is being read again; `ready` ends that."""
    return _send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def status(text: str) -> bool:
    """One line for `systemctl status`."""
    return _send(*_status(text))


def stopping(status: str = "") -> bool:
    """The program is about to end."""
    return _send("STOPPING=1", *_status(status))


def watchdog() -> bool:
    """The program is alive. To be called more often than `watchdog_interval_s`, or the program is killed."""
    return _send("WATCHDOG=1")


def watchdog_interval_s() -> float | None:
    """How often the service manager must hear `watchdog` (call it twice as often); None if it does not care."""
    try:
        interval_us = int(os.environ["WATCHDOG_USEC"])
        # Unset means: us. Another process's number means that this one merely inherited the environment.
        pid = int(os.environ.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    return interval_us / 1e6 if interval_us > 0 and pid == os.getpid() else None


def _status(text: str) -> list[str]:
    # a line break would end the status and begin another message
    return [f"STATUS={' '.join(text.split())}"] if text else []


def _send(*lines: str) -> bool:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")) or not lines:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket, in the kernel's spelling
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(1.0)  # a service manager that does not read must not stop the sound
            sock.connect(address)
            sock.sendall("\n".join(lines).encode())
    except OSError:
        return False  # it has gone; there is nobody left to tell
    return True
