"""What the page costs, and how soon it shows what is heard.

    python benchmarks/page.py

Needs Chromium, Mosquitto and `pip install playwright paho-mqtt`. Five figures: the size of the page; its first paint;
from an event in the daemon to the pixels, while 50 browsers watch (one real, 49 that only read); the memory that the
page, and the page and MQTT together, add to a daemon; and how late the daemon's blocks are, alone and while browsers
that mean it badly are at the page.
"""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import numpy as np
import soundfile
from playwright.sync_api import sync_playwright

from edge.bundle import default_bundle_path, load_bundle
from edge.capture import CaptureSwitch
from edge.clips import Clips
from edge.clock import SystemClock
from edge.config import demo_path
from edge.daemon import Daemon
from edge.events import Detection, Score
from edge.history import Event, History
from edge.labels import EMOTIONS
from edge.leds import Lights, RecordingLight
from edge.mute import Mute
from edge.observers import Health, Phase
from edge.pipeline import Pipeline
from edge.sources import FileSource
from edge.web.page import Page
from edge.web.settings import WebSettings

N_BROWSERS: Final = 50
N_EVENTS: Final = 100
N_MEMORY: Final = 3
BLOCK_MS: Final = 20
FILES: Final = Path(__file__).parents[1] / "edge" / "web" / "files"

# Notes when a new text stands in an element, once it was painted: two frames later.
WATCH: Final = """() => {
  window.seen = {};
  new MutationObserver(() => {
    const text = document.querySelector("#last").textContent.slice(0, 14);
    requestAnimationFrame(() => requestAnimationFrame(() => (window.seen[text] ??= Date.now())));
  }).observe(document.querySelector("#last"), { childList: true, characterData: true, subtree: true });
}"""
PAINT: Final = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"

# A process of its own, so that it does not share the daemon's interpreter: reads as many live streams as it is told.
READERS: Final = """
import selectors, socket, sys
chooser = selectors.DefaultSelector()
for _ in range(int(sys.argv[2])):
    reader = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    reader.sendall(b"GET /api/live HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    chooser.register(reader, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in chooser.select():
        key.fileobj.recv(1 << 16)
"""

# What a browser can do that means it badly: never read, ask for the log without end, and send rubbish and bombs.
ATTACK: Final = """
import http.client, socket, sys, threading
port, bomb = int(sys.argv[1]), open(sys.argv[2], "rb").read()
def deaf():
    open_ = []
    while True:
        s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        try:
            s.connect(("127.0.0.1", port)); s.sendall(b"GET /api/live HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
            open_ = [*open_[-40:], s]
        except OSError:
            pass
def ask(method, path, body=None):
    while True:
        try:
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            c.request(method, path, body); c.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass
uploads = [bomb, bomb, b"rubbish" * 1000, bytes(19_000_000)]
asked = [("POST", "/api/analyse", body) for body in uploads] + [("GET", "/api/history?since=7d"), ("GET", "/page.js")]
threading.Thread(target=deaf, daemon=True).start()
for request in asked:
    threading.Thread(target=ask, args=request, daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""


def main() -> int:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("there is no Chromium: sudo apt install chromium", file=sys.stderr)
        return 1
    mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if mosquitto is None:
        print("there is no mosquitto: sudo apt install mosquitto", file=sys.stderr)
        return 1
    load = os.getloadavg()[0]
    print(f"on {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}")
    files = [path.stat().st_size for path in FILES.iterdir()]
    print(f"page: {sum(files) / 1000:.1f} kB in {len(files)} files")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _measure_browser(folder / "browser", chromium)
        _measure_memory(folder / "memory", mosquitto)
        _measure_blocks(folder / "blocks")
    return 0


def _measure_browser(folder: Path, chromium: str) -> None:
    with _page(folder) as (page, port), sync_playwright() as playwright:
        page.on_health(Health(Phase.LISTENING, "", "kitchen", "model", "microphone", 1.0, 1, 0, 0, 0))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        # the page's policy forbids the scripts that measure it
        tab = browser.new_context(bypass_csp=True).new_page()
        paints_ms = []
        for _ in range(5):
            tab.goto(page.url)
            tab.locator("#phase", has_text="listening").wait_for()
            paints_ms.append(tab.evaluate(PAINT))
        print(f"first paint: {sorted(paints_ms)[2]:.0f} ms (median of 5), {max(paints_ms):.0f} ms the slowest")
        tab.evaluate(WATCH)
        with _other(READERS, str(port), str(N_BROWSERS - 1)):
            sent_ms = {}
            for n in range(N_EVENTS):
                for _ in range(6):  # what comes between two events
                    page.on_level(-30.0, True)
                    page.on_score(_score("happy"))
                    time.sleep(0.05)
                label = EMOTIONS[n % len(EMOTIONS)]
                sent_ms[f"{label}, {n} %"[:14]] = time.time() * 1000
                page.on_event(_event(label, n / 100))
            time.sleep(2)
        seen_ms = tab.evaluate("() => window.seen")
        browser.close()
        took_ms = sorted(seen_ms[_found(text, seen_ms)] - sent for text, sent in sent_ms.items())
        tenths = quantiles(took_ms, n=20)
        print(
            f"event to pixel, {N_BROWSERS} browsers, {N_EVENTS} events: median {tenths[9]:.0f} ms, "
            f"p95 {tenths[18]:.0f} ms, max {took_ms[-1]:.0f} ms"
        )


def _found(text: str, seen: dict[str, float]) -> str:
    return next(found for found in seen if found.startswith(text))


def _measure_memory(folder: Path, mosquitto: str) -> None:
    """Proportional memory of all processes of `tonelight run` that has listened for half a minute.

    Two readers are at the page, and a real broker takes what is told to it: without them, neither would do its work.
    """
    used_mb: dict[str, list[float]] = {}
    with _broker(folder / "broker", mosquitto) as mqtt_port:
        for _ in range(N_MEMORY):
            for what, has_page, has_mqtt in (
                ("with neither", False, False),
                ("with the page", True, False),
                ("with the page and MQTT", True, True),
            ):
                state = Path(tempfile.mkdtemp(dir=folder))
                port = _free_port()
                mqtt = f'[mqtt]\nenabled = true\nhost = "127.0.0.1"\nport = {mqtt_port}\n' if has_mqtt else ""
                web = f"[web]\nenabled = {str(has_page).lower()}\nport = {port}\n"
                (state / "config.toml").write_text(f'[leds]\nkind = "none"\n{web}{mqtt}')
                command = [sys.executable, "-m", "edge", "run", "--config", str(state / "config.toml")]
                command += ["--source", str(_looped(state / "sound.wav", 600))]
                environment = {**os.environ, "STATE_DIRECTORY": str(state), "RUNTIME_DIRECTORY": str(state)}
                run = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
                try:
                    time.sleep(15)
                    with _other(READERS, str(port), "2") if has_page else _nothing():
                        time.sleep(15)
                        used_mb.setdefault(what, []).append(sum(_memory_mb(pid) for pid in _tree(run.pid)))
                finally:
                    run.terminate()
                    run.wait()
    neither = used_mb.pop("with neither")
    print(f"memory: {median(neither):.1f} MB with neither page nor MQTT (medians of {N_MEMORY})")
    for what, having in used_mb.items():
        more = [one - other for one, other in zip(having, neither, strict=True)]
        print(f"memory {what}: {median(having):.1f} MB, {median(more):.1f} MB more ({max(more):.1f} MB at most)")


@contextmanager
def _broker(folder: Path, mosquitto: str) -> Iterator[int]:
    """A Mosquitto on loopback; its port."""
    folder.mkdir(parents=True)
    port = _free_port()
    (folder / "mosquitto.conf").write_text(
        f"user {getpass.getuser()}\nlistener {port} 127.0.0.1\nallow_anonymous true\n"
    )
    command = [mosquitto, "-c", str(folder / "mosquitto.conf")]
    broker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        broker.terminate()
        broker.wait()


def _measure_blocks(folder: Path) -> None:
    folder.mkdir()
    bomb = folder / "bomb.flac"
    soundfile.write(bomb, np.zeros(4000 * 60 * 60, np.int16), 4000)
    sound = _looped(folder / "sound.wav", 30)
    for what in ("alone", "attacked"):
        with _page(folder / what) as (page, port):
            late = _Lateness()
            with _other(ATTACK, str(port), str(bomb)) if what == "attacked" else _nothing():
                bundle = load_bundle(default_bundle_path())
                totals = Daemon(
                    open_source=lambda: FileSource(sound, BLOCK_MS, realtime=True),
                    pipeline=Pipeline(bundle),
                    lights=Lights(RecordingLight()),
                    history=History(folder / what / "history.db", max_mb=4, max_days=1),
                    clock=SystemClock(),
                    stop=threading.Event(),
                    node="kitchen",
                    model=bundle.id,
                    observers=[page, late],
                ).run()
        late_ms = late.milliseconds()
        hundredths = quantiles(late_ms, n=100)
        print(
            f"blocks, {what}: {totals.n_blocks} of {BLOCK_MS} ms, {totals.n_lost} samples lost; late by "
            f"{hundredths[49]:.1f} ms (median), {hundredths[98]:.1f} ms (p99), {max(late_ms):.1f} ms (max)"
        )


class _Lateness:
    """An observer that notes when each block was through."""

    def __init__(self) -> None:
        self._through_s: list[float] = []

    def on_level(self, level_db: float, speaking: bool) -> None:
        self._through_s.append(time.monotonic())

    def on_score(self, score: Score) -> None: ...

    def on_event(self, event: Event) -> None: ...

    def on_health(self, health: Health) -> None: ...

    def close(self) -> None: ...

    def milliseconds(self) -> list[float]:
        """How much later each block was through than the most punctual one, had all come in step."""
        offsets = np.array(self._through_s) - BLOCK_MS / 1000 * np.arange(len(self._through_s))
        return (1000 * (offsets - offsets.min())).tolist()


@contextmanager
def _page(folder: Path) -> Iterator[tuple[Page, int]]:
    folder.mkdir(parents=True)
    port = _free_port()
    page = Page(
        WebSettings(enabled=True, port=port),
        node="kitchen",
        state=folder,
        history=folder / "history.db",
        mute=Mute(folder / "mute"),
        capture=CaptureSwitch(folder / "capture"),
        clips=Clips(folder / "clips"),
        bundle=default_bundle_path(),
        colours={},
    )
    try:
        end_s = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.1)
        yield page, port
    finally:
        page.close()


@contextmanager
def _other(code: str, *arguments: str) -> Iterator[None]:
    """Another process that runs `code`, from when it is ready until the end."""
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _looped(path: Path, seconds: float) -> Path:
    """The demo recording, again and again."""
    samples, rate_hz = soundfile.read(demo_path(), dtype="int16")
    soundfile.write(path, np.resize(samples, round(seconds * rate_hz)), rate_hz)
    return path


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def _tree(pid: int) -> list[int]:
    children = [int(n) for path in Path(f"/proc/{pid}/task").glob("*/children") for n in path.read_text().split()]
    return [pid, *(one for child in children for one in _tree(child))]


def _memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def _score(label: str) -> Score:
    return Score(1.0, dict.fromkeys(EMOTIONS, 0.125), label, 0.5, 0.5)


def _event(label: str, confidence: float) -> Event:
    start_s = time.monotonic()
    detection = Detection(start_s, start_s + 2, label, confidence, dict.fromkeys(EMOTIONS, 0.125), False, 0.5)
    now = datetime.now(timezone.utc)
    return Event.from_detection(detection, node="kitchen", model="model", latency_ms=0.0, now=now, mono_s=start_s)


if __name__ == "__main__":
    sys.exit(main())
