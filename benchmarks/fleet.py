"""Many boards at one broker: does every event arrive, in order, and how soon?

    python benchmarks/fleet.py                # 200 boards for a minute
    python benchmarks/fleet.py --restart      # the same, and the broker goes away for two seconds in the middle

Starts a Mosquitto of its own on loopback. Each board is a real `edge.mqtt.MqttObserver`, which is told what a daemon
would tell it while somebody speaks all the time: an event each `--every` seconds, three scores a second in between,
health once a second. One subscriber takes the events of all. Exits with 1 when an event is missing or out of order.
"""

from __future__ import annotations

import argparse
import getpass
import json
import logging
import multiprocessing
import os
import platform
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from itertools import pairwise
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import quantiles

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge.events import Score
from edge.history import SCHEMA, Event, utc_text
from edge.labels import EMOTIONS
from edge.mqtt import MqttObserver, MqttSettings
from edge.mute import Mute
from edge.observers import Health, Phase

PROCESSES = 4
PATIENCE_S = 120.0
TICK_S = 1 / 3


def main() -> int:
    """Run, report, and say whether every event arrived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two events of a board")
    parser.add_argument("--restart", action="store_true", help="stop the broker for 2 s half way")
    args = parser.parse_args()
    mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if mosquitto is None:
        print("there is no mosquitto: sudo apt install mosquitto", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        return _run(args, mosquitto, Path(folder))


def _run(args: argparse.Namespace, mosquitto: str, folder: Path) -> int:
    port = _free_port()
    (folder / "mosquitto.conf").write_text(
        f"user {getpass.getuser()}\nlistener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
        f"persistence true\npersistence_location {folder}/\nset_tcp_nodelay true\n"
    )
    broker = _start(mosquitto, folder, port)
    subscriber = _Subscriber(port)
    # spawned, not forked: this process has threads already
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(PROCESSES + 1)
    sent = context.Queue()
    names = [f"board-{number:03d}" for number in range(args.boards)]
    workers = [
        context.Process(
            target=_boards, args=(names[part::PROCESSES], port, str(folder), args.seconds, args.every, ready, sent)
        )
        for part in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    ready.wait(PATIENCE_S)  # all are connected
    began_s = time.monotonic()
    if args.restart:
        time.sleep(args.seconds / 2)
        broker.terminate()
        broker.wait()
        time.sleep(2.0)
        broker = _start(mosquitto, folder, port)
    counts: dict[str, int] = {}
    n_dropped = 0
    for _ in workers:
        part, dropped = sent.get(timeout=args.seconds + PATIENCE_S)
        counts |= part
        n_dropped += dropped
    for worker in workers:
        worker.join()
    n_sent = sum(counts.values())
    subscriber.wait(n_sent)
    took_s = time.monotonic() - began_s
    broker.terminate()
    broker.wait()
    return _report(args, subscriber, counts, n_dropped, took_s)


def _boards(
    names: list[str],
    port: int,
    folder: str,
    seconds: float,
    every_s: float,
    ready: Barrier,
    sent: multiprocessing.Queue,
) -> None:
    """A part of the fleet, in a process of its own; puts how many events each board had, and how many were dropped."""
    logging.disable(logging.CRITICAL)  # two hundred times "has gone" is no news
    settings = MqttSettings(enabled=True, host="127.0.0.1", port=port)
    boards = {name: MqttObserver(settings, node=name, mute=Mute(Path(folder) / f"{name}.mute")) for name in names}
    while not all(board._is_connected for board in boards.values()):
        time.sleep(0.05)
    ready.wait(PATIENCE_S)
    began_s = time.monotonic()
    dice = random.Random(names[0])
    next_event_s = {name: began_s + dice.uniform(0, every_s) for name in names}
    counts = dict.fromkeys(names, 0)
    probs = dict.fromkeys(EMOTIONS, 1 / len(EMOTIONS))
    n_ticks = 0
    while (now_s := time.monotonic()) < began_s + seconds:
        for name, board in boards.items():
            board.on_level(-30.0, True)
            emotion = dice.choice(EMOTIONS)
            board.on_score(Score(time_s=now_s, probs=probs, label=emotion, confidence=0.5, activation=dice.random()))
            if n_ticks % 3 == 0:
                board.on_health(Health(Phase.LISTENING, "", name, "m", "desk", now_s, n_ticks, counts[name], 0, 0))
            if time.monotonic() >= next_event_s[name]:
                next_event_s[name] += every_s
                board.on_event(_event(name, counts[name], probs, emotion))
                counts[name] += 1
        n_ticks += 1
        time.sleep(max(0.0, began_s + n_ticks * TICK_S - time.monotonic()))
    end_s = time.monotonic() + PATIENCE_S
    while any(board.n_waiting for board in boards.values()) and time.monotonic() < end_s:
        time.sleep(0.1)
    for board in boards.values():
        board.close()
    sent.put((counts, sum(board.n_dropped for board in boards.values())))


def _event(node: str, number: int, probs: dict[str, float], emotion: str) -> Event:
    """Event `number` of a board: `start_s` holds the number, `mono_s` the moment, the same clock for all processes."""
    return Event(
        schema=SCHEMA,
        ts=utc_text(datetime.now(timezone.utc)),
        mono_s=time.monotonic(),
        node=node,
        start_s=float(number),
        end_s=number + 0.5,
        label=emotion,
        confidence=0.5,
        probs=probs,
        uncertain=False,
        activation=0.5,
        model="m",
        latency_ms=500.0,
        clock_synced=None,
    )


class _Subscriber:
    """Takes the events of all boards, in a session that outlives a restart of the broker."""

    def __init__(self, port: int) -> None:
        self.arrived: dict[str, list[tuple[int, float]]] = {}
        """Of each board: numbers of its events and their latencies in seconds, in the order in which they came."""
        self.n_messages = 0
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="fleet", clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("tonelight/+/event", 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._subscribed.wait(PATIENCE_S)

    def _take(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        now_s = time.monotonic()
        event = json.loads(message.payload)
        self.arrived.setdefault(event["node"], []).append((int(event["start_s"]), now_s - event["mono_s"]))
        self.n_messages += 1

    def wait(self, n_expected: int) -> None:
        """Until so many different events are there, or nothing more seems to come."""
        end_s = time.monotonic() + 30.0
        while sum(len({number for number, _ in of}) for of in self.arrived.values()) < n_expected:
            if time.monotonic() > end_s:
                return
            time.sleep(0.2)


def _report(
    args: argparse.Namespace, subscriber: _Subscriber, counts: dict[str, int], n_dropped: int, took_s: float
) -> int:
    n_sent = sum(counts.values())
    n_missing = n_disordered = n_twice = 0
    latencies_ms: list[float] = []
    for name, count in counts.items():
        numbers = [number for number, _ in subscriber.arrived.get(name, [])]
        first = list(dict.fromkeys(numbers))
        n_missing += count - len(first)
        n_disordered += sum(a > b for a, b in pairwise(first))
        n_twice += len(numbers) - len(first)
        latencies_ms += [1000 * latency_s for _, latency_s in subscriber.arrived.get(name, [])]
    cuts = quantiles(latencies_ms, n=100)
    version = subprocess.run(["mosquitto", "-h"], capture_output=True, text=True).stdout.split("\n")[0]
    names = (line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name"))
    p50, p95, p99 = cuts[49], cuts[94], cuts[98]
    for name, text in {
        "machine": f"{os.cpu_count()} cores, {next(names, platform.machine())}, load {os.getloadavg()[0]:.1f}",
        "broker": f"{version}, on loopback{', stopped for 2 s half way' if args.restart else ''}",
        "boards": f"{args.boards}, an event each {args.every:g} s, for {args.seconds:g} s",
        "sent": f"{n_sent} events, {n_dropped} dropped by the boards",
        "arrived": f"{n_missing} missing, {n_disordered} out of order, {n_twice} twice",
        "throughput": f"{subscriber.n_messages / took_s:.0f} events/s",
        "latency": f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms, worst {max(latencies_ms):.0f} ms",
    }.items():
        print(f"{name:12}{text}")
    return int(bool(n_missing or n_dropped or n_disordered))


def _start(mosquitto: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [mosquitto, "-c", str(folder / "mosquitto.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while True:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return process
        if process.poll() is not None:
            raise SystemExit("mosquitto does not start")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _lines(path: str) -> list[str]:
    return Path(path).read_text().split("\n") if Path(path).exists() else []


if __name__ == "__main__":
    sys.exit(main())
