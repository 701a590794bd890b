"""Figures for Prometheus, at http://127.0.0.1:9730/metrics unless told otherwise: labels and numbers, never sound.

Every metric carries the label `node`. What the daemon counts itself (blocks, losses) is read from its last `Health`
when somebody asks; what it does not count is added up here. docs/mqtt.md lists them.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from edge import __version__
from edge.credentials import read_secret
from edge.errors import ConfigError
from edge.events import UNCERTAIN, Score
from edge.extras import how_to_add
from edge.labels import EMOTIONS
from edge.observers import Health, Phase

if TYPE_CHECKING:
    from prometheus_client import Metric

    from edge.history import Event
    from edge.metrics_server import Server

log = logging.getLogger(__name__)

LATENCY_S: Final = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Upper bounds of the histogram of latencies, in seconds."""
CLOSE_S: Final = 0.3
"""How long the end of the program waits for a client that is being served."""
RETRY_S: Final = 5.0
"""Wait before an address that cannot be listened at is tried again."""


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures for Prometheus."""

    enabled: Annotated[bool, Meta(description="serve figures for Prometheus")] = False
    address: Annotated[
        str,
        Meta(description="IP address of this machine to serve them at; others than 127.0.0.1 and ::1 need a token"),
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65_535, description="port to serve them at")] = 9730
    token_file: Annotated[
        str,
        Meta(description="file with the token; empty = the credential metrics-token of the service, if it has one"),
    ] = ""

    def __post_init__(self) -> None:
        """Raises:
        ValueError: `address` is none.
        """
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            raise ValueError("address: expected an IP address of this machine, or 0.0.0.0 for all it has") from None


class MetricsObserver:
    """Counts, and serves what it counted from a thread of its own.

    An address that cannot be listened at, because this machine has it only later or somebody else listens there, is
    reported once and tried again.
    """

    def __init__(self, settings: MetricsSettings, *, node: str) -> None:
        """Begin to serve.

        Raises:
            ConfigError: prometheus-client is not installed, or the token is missing or cannot be read.
        """
        token = read_token(settings)
        check_library()
        # not above, here and below: every command reads the settings, and few serve anything
        from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest

        self._settings = settings
        self._token = token
        self._node = node
        self._health: Health | None = None
        self._level_db: float | None = None
        registry = CollectorRegistry()
        registry.register(_OnRequest(self._figures))
        ProcessCollector(registry=registry)
        segments = Counter(
            "tonelight_segments", "Finished stretches of speech.", ("node", "emotion"), registry=registry
        )
        # all of them from the start: a counter that appears with its first event hides that event from rate()
        self._segments = {emotion: segments.labels(node, emotion) for emotion in (*EMOTIONS, UNCERTAIN)}
        self._speech_s = Counter(
            "tonelight_speech_seconds", "Length of the finished stretches of speech.", ("node",), registry=registry
        ).labels(node)
        self._latency_s = Histogram(
            "tonelight_event_latency_seconds",
            "From the end of the speech to its event, with the silence that tells the end.",
            ("node",),
            buckets=LATENCY_S,
            registry=registry,
        ).labels(node)

        self._page = lambda: generate_latest(registry)
        self._fault = ""
        self._closing = threading.Event()
        # not in the thread: what is in the way is said before anything is heard
        self._server = self._open()
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens, or will."""
        return int(self._server.server_address[1]) if self._server else self._settings.port

    def on_level(self, level_db: float, speaking: bool) -> None:
        """Only the newest level is kept."""
        self._level_db = level_db

    def on_score(self, score: Score) -> None:
        """Scores are not counted; what they end in is."""

    def on_event(self, event: Event) -> None:
        """Count it."""
        self._segments[UNCERTAIN if event.uncertain else event.label].inc()
        self._speech_s.inc(max(0.0, event.end_s - event.start_s))
        self._latency_s.observe(event.latency_ms / 1000)

    def on_health(self, health: Health) -> None:
        """Only the newest is kept."""
        self._health = health
        if health.phase is not Phase.LISTENING:
            self._level_db = None

    def close(self) -> None:
        """Stop serving."""
        self._closing.set()
        if (server := self._server) is not None:
            end = threading.Thread(target=server.shutdown, daemon=True)
            end.start()
            end.join(CLOSE_S)
            server.server_close()

    def _open(self) -> Server | None:
        """A server that listens where the settings say, or None; what is in the way is said in the log, once."""
        from edge.metrics_server import Server

        settings = self._settings
        try:
            server = Server(settings.address, settings.port, self._token, self._page)
        except OSError as error:
            fault = error.strerror or str(error)
            if fault != self._fault:
                log.error(
                    "metrics.address = %s, metrics.port = %d: cannot listen there: %s; choose another port, or an "
                    "address that this machine has (it is tried again; everything else goes on)",
                    *(settings.address, settings.port, fault),
                )
            self._fault = fault
            return None
        if self._fault:
            log.info("the figures are served at %s, port %d, now", settings.address, settings.port)
        return server

    def _serve(self) -> None:
        """Serve, once that is possible. Runs in a thread of its own."""
        while self._server is None:
            if self._closing.wait(RETRY_S):
                return
            self._server = self._open()
        if self._closing.is_set():
            self._server.server_close()
        else:
            self._server.serve_forever(0.2)

    def _figures(self) -> Iterator[Metric]:
        """What is known only when somebody asks."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        level_db, health = self._level_db, self._health
        level = GaugeMetricFamily(
            "tonelight_level_dbfs", "Level of the last frame, relative to full scale.", labels=("node",)
        )
        if level_db is not None:
            level.add_metric((self._node,), level_db)
        yield level
        if health is None:
            return
        info = GaugeMetricFamily(
            "tonelight_build_info", "Version of the program, and the model.", labels=("node", "version", "model")
        )
        info.add_metric((self._node, __version__, health.model), 1)
        yield info
        phase = GaugeMetricFamily(
            "tonelight_phase", "1 for what the daemon is doing, 0 for the rest.", labels=("node", "phase")
        )
        for one in Phase:
            phase.add_metric((self._node, one.value), float(one is health.phase))
        yield phase
        uptime = GaugeMetricFamily("tonelight_uptime_seconds", "Since the daemon started.", labels=("node",))
        uptime.add_metric((self._node,), health.uptime_s)
        yield uptime
        for name, what, count in (
            ("tonelight_blocks", "Blocks of sound that got through.", health.n_blocks),
            ("tonelight_lost_samples", "Samples lost, at 16 kHz.", health.n_lost),
            ("tonelight_gaps", "Places where samples were lost.", health.n_gaps),
        ):
            counter = CounterMetricFamily(name, what, labels=("node",))
            counter.add_metric((self._node,), count)
            yield counter


def read_token(settings: MetricsSettings) -> str | None:
    """What a client must show; None where only this machine can ask.

    Raises:
        ConfigError: the token is missing or cannot be read.
    """
    token = read_secret("metrics.token_file", settings.token_file, "metrics-token")
    if token is None and not ipaddress.ip_address(settings.address).is_loopback:
        raise ConfigError(
            f"metrics.address = {settings.address}: anybody in the network could read the figures; name a file "
            "with a token in metrics.token_file, or leave the address at 127.0.0.1"
        )
    return token


def check_library() -> None:
    """Raises:
    ConfigError: prometheus-client is not installed.
    """
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise ConfigError(
            f"metrics.enabled needs the library prometheus-client: {how_to_add('metrics')}, or set "
            "metrics.enabled = false"
        ) from None


class _OnRequest:
    """What prometheus-client asks for figures."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self.collect = collect
