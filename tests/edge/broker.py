"""A real Mosquitto on a port of its own, and somebody who listens to it."""

from __future__ import annotations

import getpass
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

mqtt = pytest.importorskip("paho.mqtt.client", reason="there is no paho-mqtt")
from paho.mqtt.enums import CallbackAPIVersion  # noqa: E402

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="there is no mosquitto: sudo apt install mosquitto")

PATIENCE_S = 30.0
"""What takes longer than this on the slowest machine does not work."""


class Broker:
    """Mosquitto in `folder`, without a listener beyond this machine; `lines` are added to its configuration."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(*lines)
        self.start()

    def configure(self, *lines: str) -> None:
        """Another configuration for the next start."""
        # as root, it would become a user who may not read the folder of a test
        own = [f"user {getpass.getuser()}", f"listener {self.port} 127.0.0.1", "max_queued_messages 0", *lines]
        if not any(line.startswith("password_file") for line in lines):
            own.append("allow_anonymous true")
        (self.folder / "mosquitto.conf").write_text("\n".join(own) + "\n")

    def start(self) -> None:
        assert MOSQUITTO
        with (self.folder / "mosquitto.log").open("ab") as out:
            self._process = subprocess.Popen(
                [MOSQUITTO, "-c", str(self.folder / "mosquitto.conf")], stdout=out, stderr=out, cwd=self.folder
            )
        end_s = time.monotonic() + PATIENCE_S
        while not is_open(self.port):
            assert self._process.poll() is None, (self.folder / "mosquitto.log").read_text()
            assert time.monotonic() < end_s
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It is there, and does nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


class Listener:
    """Everything that is published, in the order in which it arrives: (topic, payload, retained)."""

    def __init__(self, port: int, topic: str = "#", **login: str) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self._changed = threading.Condition()
        # a session that outlives the connection: what is published while it is being made again is not missed
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="listener", protocol=mqtt.MQTTv311, clean_session=False
        )
        if login:
            self._client.username_pw_set(**login)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = self._take
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(PATIENCE_S)

    def _take(self, client: Any, userdata: Any, message: Any) -> None:
        with self._changed:
            self.messages.append((message.topic, bytes(message.payload), bool(message.retain)))
            self._changed.notify_all()

    def wait(self, until: Callable[[], Any]) -> Any:
        """What `until` returns, once that is true; it may look at `messages`."""
        with self._changed:
            assert self._changed.wait_for(until, PATIENCE_S), f"waited in vain; so far: {self.messages[-20:]}"
            return until()

    def payloads(self, topic: str) -> list[bytes]:
        return [payload for its, payload, _ in self.messages if its == topic]

    def wait_for(self, topic: str, payload: bytes) -> None:
        """Until it is the newest of its topic."""
        self.wait(lambda: self.payloads(topic)[-1:] == [payload])

    def wait_json(self, topic: str, **fields: Any) -> dict[str, Any]:
        """The newest message of the topic, once it has these fields."""

        def newest() -> dict[str, Any] | None:
            told = [json.loads(payload) for payload in self.payloads(topic)[-1:]]
            return next((one for one in told if fields.items() <= one.items()), None)

        found: dict[str, Any] = self.wait(newest)
        return found

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(PATIENCE_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1.0)
        return sock.connect_ex(("127.0.0.1", port)) == 0
