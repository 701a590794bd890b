"""24 hours through the real daemon, with everything that listens to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.endurance.room import (
    BLOCK,
    CHECKED_MINUTES,
    HOURS,
    MINUTE,
    PATIENCE_S,
    Played,
    Room,
    SoundClock,
    Watcher,
    build,
    children,
    expected,
    free_port,
    held,
    n_differing,
    say,
)
from edge.capture import CaptureSwitch
from edge.clips import Clips
from edge.health import HealthFile
from edge.history import read_events
from edge.metrics import MetricsObserver, MetricsSettings
from edge.mqtt import MqttObserver, MqttSettings
from edge.mute import Mute
from edge.web.page import Page
from edge.web.settings import WebSettings


def day(folder: Path, out: Path) -> dict[str, Any]:
    n_minutes = round(HOURS * 60)
    clock, room, n_scraped = SoundClock(HOURS), Room(), 0
    began_s = time.monotonic()
    watcher, metrics_port, page_port = Watcher(), free_port(), free_port()
    mute = Mute(folder / "mute")
    # the runtime folder of a board is memory, too
    with broker(folder) as (mqtt, told), tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        memory = Path(name)
        helpers = children()
        observers = [
            watcher,
            HealthFile(memory / "health.json"),
            MetricsObserver(MetricsSettings(enabled=True, port=metrics_port), node="endurance"),
            Page(
                WebSettings(enabled=True, port=page_port),
                node="endurance",
                state=folder,
                history=folder / "history.db",
                mute=mute,
                capture=CaptureSwitch(folder / "capture"),
                clips=Clips(folder / "clips"),
                bundle=None,
                colours={},
            ),
        ]
        if mqtt:
            observers.append(MqttObserver(MqttSettings(enabled=True, host="127.0.0.1", port=mqtt), node="x", mute=mute))
        series = (out / "day.jsonl").open("w")

        def at_minute(number: int) -> None:
            nonlocal n_scraped
            if number % 10 == 0:  # from the beginning: what is needed for that must not count as growth
                url = f"http://127.0.0.1:{metrics_port}/metrics"
                n_scraped += b"tonelight_segments_total" in urllib.request.urlopen(url, timeout=PATIENCE_S).read()
            sample = {"minute": number, "wall_s": round(time.monotonic() - began_s, 1), **held()}
            sample["page_rss"] = sum(held(pid)["rss"] for pid in children() if pid not in helpers)
            sample["n_events"] = watcher.n_events
            print(json.dumps(sample), file=series, flush=True)  # not into memory, which is what is measured
            if number % 60 == 0:
                say(f"day: hour {number // 60}, {sample['rss'] / 1e6:.1f} MB, {watcher.n_events} events")

        source = Played(room, clock, 0, n_minutes * MINUTE // BLOCK, True, at_minute)
        daemon = build(folder, clock, lambda: source, observers, threading.Event())
        daemon_s = time.monotonic()
        totals = daemon.run()
        daemon_s = time.monotonic() - daemon_s
        n_told = told(totals.n_detections)
    series.close()
    say("day: computing what a bare pipeline hears")
    n_checked = min(n_minutes, CHECKED_MINUTES)
    # without the last event: here the sound ends, there it went on
    wanted = expected([(0, n_checked * MINUTE // BLOCK)])[:-1]
    logged = list(read_events(folder / "history.db"))
    starts = {int(event.start_s // 60) for event in logged}
    samples = [json.loads(line) for line in (out / "day.jsonl").read_text().splitlines()]
    first, hour, last = samples[1], samples[min(60, len(samples) - 1)], samples[-1]
    return {
        "hours": HOURS,
        "wall_s": daemon_s,
        "n_blocks": totals.n_blocks,
        "n_events": totals.n_detections,
        "n_logged": len(logged),
        "n_observed": watcher.n_events,
        "n_minutes_without": n_minutes - len(starts),
        "n_checked_minutes": n_checked,
        "n_wanted": len(wanted),
        "n_differing": n_differing(logged[: len(wanted)], wanted),
        "n_mqtt": n_told if mqtt else None,
        "n_scraped": n_scraped,
        "rss_first": first["rss"],
        "rss_hour": hour["rss"],
        "rss_last": last["rss"],
        "rss_most": max(sample["rss"] for sample in samples),
        "anon_first": first["anon"],
        "anon_hour": hour["anon"],
        "anon_last": last["anon"],
        "page_hour": hour["page_rss"],
        "page_last": last["page_rss"],
        "fds_first": first["fds"],
        "fds_last": last["fds"],
        "fds_most": max(sample["fds"] for sample in samples),
        "threads_first": first["threads"],
        "threads_last": last["threads"],
    }


class broker:
    """Mosquitto, where it is installed, and somebody who counts the events it is told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> tuple[int, Callable[[int], int]]:
        found = shutil.which("mosquitto", path=f"/usr/sbin:{os.environ['PATH']}")
        if not found or not shutil.which("mosquitto_sub"):
            return 0, lambda n: 0
        port, config, events = free_port(), self._folder / "mosquitto.conf", self._folder / "events.txt"
        config.write_text(f"user {os.environ.get('USER', 'root')}\nlistener {port} 127.0.0.1\nallow_anonymous true\n")
        self._start([found, "-c", str(config)], subprocess.DEVNULL)
        while subprocess.run(["mosquitto_pub", "-p", str(port), "-t", "a", "-n"], stderr=subprocess.DEVNULL).returncode:
            time.sleep(0.1)
        with events.open("wb") as out:
            self._start(["mosquitto_sub", "-p", str(port), "-q", "1", "-t", "tonelight/+/event"], out)
        time.sleep(1.0)

        def told(n_wanted: int) -> int:
            end_s = time.monotonic() + 10.0
            while (n := events.read_bytes().count(b"\n")) < n_wanted and time.monotonic() < end_s:
                time.sleep(0.2)
            return n

        return port, told

    def _start(self, command: list[str], out: Any) -> None:
        self._processes.append(subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL))

    def __exit__(self, *exception: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait()
