"""sd_notify against a real datagram socket, as the service manager opens it."""

import os
import re
import socket
import time

import pytest

from edge import notify


@pytest.fixture(params=["file", "abstract"])
def manager(request, monkeypatch, tmp_path):
    """The service manager's end of the socket."""
    address = str(tmp_path / "notify") if request.param == "file" else f"\0tonelight-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
        yield sock


def received(sock: socket.socket) -> list[str]:
    return sock.recv(4096).decode().split("\n")


def test_the_life_of_a_service(manager):
    assert notify.ready("listening")
    assert notify.watchdog()
    assert notify.status("1 overrun")
    assert notify.stopping()
    assert [received(manager) for _ in range(4)] == [
        ["READY=1", "STATUS=listening"],
        ["WATCHDOG=1"],
        ["STATUS=1 overrun"],
        ["STOPPING=1"],
    ]
    with pytest.raises(BlockingIOError):
        received(manager)


def test_reloading_carries_the_monotonic_time(manager):
    before_us = time.monotonic_ns() // 1000
    assert notify.reloading()
    flag, moment = received(manager)
    assert flag == "RELOADING=1"
    assert re.fullmatch(r"MONOTONIC_USEC=\d+", moment)
    assert before_us <= int(moment.partition("=")[2]) <= time.monotonic_ns() // 1000


def test_a_status_cannot_smuggle_in_another_message(manager):
    notify.status("two\nlines\r\nWATCHDOG=1 é")
    assert received(manager) == ["STATUS=two lines WATCHDOG=1 é"]


def test_nobody_listens(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify.ready()
    for address in ("", "relative", str(tmp_path / "gone"), "@gone", "vsock:2:1", "/" + "x" * 200):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert not notify.watchdog(), address


def test_a_manager_that_does_not_read_cannot_block_for_long(monkeypatch, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        n_sent = 0
        while notify.watchdog():  # ends when its queue is full
            n_sent += 1
            assert n_sent < 100_000
        sock.recv(4096)
        assert notify.watchdog()


@pytest.mark.parametrize(
    ("usec", "pid", "interval_s"),
    [
        ("30000000", None, 30.0),
        ("500000", "own", 0.5),
        ("30000000", "1", None),
        (None, None, None),
        ("0", None, None),
        ("-5", None, None),
        ("soon", None, None),
        ("30000000", "x", None),
    ],
)
def test_the_interval_of_the_watchdog(monkeypatch, usec, pid, interval_s):
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert notify.watchdog_interval_s() == interval_s
