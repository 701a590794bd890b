"""Over HTTP, as Prometheus asks, and read with the reader of its own client library."""

import http.client
import logging
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

prometheus_client = pytest.importorskip("prometheus_client", reason="there is no prometheus-client")
from observed import event, health  # noqa: E402
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from edge import __version__, config  # noqa: E402
from edge.errors import ConfigError  # noqa: E402
from edge.events import UNCERTAIN  # noqa: E402
from edge.labels import EMOTIONS  # noqa: E402
from edge.metrics import MetricsObserver, MetricsSettings  # noqa: E402
from edge.metrics_server import PATIENCE_S  # noqa: E402
from edge.observers import Phase  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"
HERE = MetricsSettings(port=0)  # any port that is free


@pytest.fixture
def observer():
    made = MetricsObserver(HERE, node="kitchen")
    yield made
    made.close()


def ask(observer, path="/metrics", address="127.0.0.1", **headers):
    connection = http.client.HTTPConnection(address, observer.port, timeout=30)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def figures(observer):
    """{(name, labels without the node): value}; every one of ours carries the node."""
    status, page = ask(observer)
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = dict(sample.labels)
            if sample.name.startswith("tonelight_"):
                assert labels.pop("node") == "kitchen"
            found[sample.name, tuple(sorted(labels.values()))] = sample.value
    return found


def test_before_anything_happened(observer):
    told = figures(observer)
    for emotion in (*EMOTIONS, UNCERTAIN):
        assert told["tonelight_segments_total", (emotion,)] == 0
    assert not [
        key
        for key in told
        if key[0] in ("tonelight_build_info", "tonelight_phase", "tonelight_level_dbfs", "tonelight_blocks_total")
    ]


def test_after_some_speech(observer):
    observer.on_event(event(0))
    observer.on_event(event(1))
    observer.on_event(event(2, uncertain=True))
    observer.on_level(-31.5, True)
    observer.on_health(health())
    told = figures(observer)
    assert told["tonelight_segments_total", ("happy",)] == 2
    assert told["tonelight_segments_total", ("uncertain",)] == 1
    assert told["tonelight_segments_total", ("sad",)] == 0
    assert told["tonelight_speech_seconds_total", ()] == pytest.approx(2.4)
    # 512.5 ms each
    assert told["tonelight_event_latency_seconds_sum", ()] == pytest.approx(1.5375)
    assert told["tonelight_event_latency_seconds_count", ()] == 3
    assert (told[_bucket("0.5")], told[_bucket("0.75")]) == (0, 3)
    assert told["tonelight_level_dbfs", ()] == -31.5
    assert told["tonelight_build_info", tuple(sorted((__version__, "tonelight-0.1.0")))] == 1
    assert told["tonelight_uptime_seconds", ()] == 12.5
    assert told["tonelight_blocks_total", ()] == 600
    assert told["tonelight_lost_samples_total", ()] == 1600
    assert told["tonelight_gaps_total", ()] == 1
    assert {phase: told["tonelight_phase", (phase.value,)] for phase in Phase} == {
        Phase.STARTING: 0,
        Phase.LISTENING: 1,
        Phase.MUTED: 0,
        Phase.FAULT: 0,
    }


def test_a_board_that_does_not_listen_has_no_level(observer):
    observer.on_level(-31.5, False)
    observer.on_health(health(Phase.MUTED))
    told = figures(observer)
    assert ("tonelight_level_dbfs", ()) not in told
    assert told["tonelight_phase", ("muted",)] == 1


def test_the_process_is_told_of_too(observer):
    assert figures(observer)["process_resident_memory_bytes", ()] > 1_000_000


@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool: sudo apt install prometheus")
def test_what_prometheus_says_of_names_and_units(observer):
    observer.on_health(health())
    observer.on_level(-31.5, False)
    _, page = ask(observer)
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_name_with_quotes(tmp_path):
    observer = MetricsObserver(HERE, node='a "b"\\\n')
    try:
        families = list(text_string_to_metric_families(ask(observer)[1]))
    finally:
        observer.close()
    assert {sample.labels["node"] for family in families for sample in family.samples if "node" in sample.labels} == {
        'a "b"\\\n'
    }


def test_other_pages_and_other_methods(observer):
    assert ask(observer, "/")[0] == 404
    assert ask(observer, "/metrics?name[]=up")[0] == 200
    connection = http.client.HTTPConnection("127.0.0.1", observer.port, timeout=30)
    connection.request("POST", "/metrics", body=b"x")
    assert connection.getresponse().status == 501


def test_a_page_of_the_internet_cannot_ask_through_a_browser(observer):
    assert ask(observer, Host=f"localhost:{observer.port}")[0] == 200
    for host in ("evil.example", f"evil.example:{observer.port}", "localhost.evil.example", ""):
        assert ask(observer, Host=host)[0] == 403


def test_a_token(tmp_path):
    secret = tmp_path / "token"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    observer = MetricsObserver(MetricsSettings(address="0.0.0.0", port=0, token_file=str(secret)), node="kitchen")
    try:
        for wrong in (
            {},
            {"Authorization": "Bearer "},
            {"Authorization": "open sesame"},
            {"Authorization": "Bearer ä"},
        ):
            status, page = ask(observer, **{name: value.encode("utf-8") for name, value in wrong.items()})
            assert (status, "tonelight_" in page) == (401, False)
        assert ask(observer, Authorization="Bearer open sesame", Host="kitchen.lan:9730")[0] == 200
    finally:
        observer.close()


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(
        ConfigError, match=r"needs the library prometheus-client: `\S+ -m pip install \"tonelight\[metrics\]\"`"
    ):
        MetricsObserver(HERE, node="kitchen")


def test_others_need_a_token():
    with pytest.raises(
        ConfigError, match=r"metrics\.address = 0\.0\.0\.0: anybody in the network could read the figures"
    ):
        MetricsObserver(MetricsSettings(address="0.0.0.0"), node="kitchen")


def test_an_address_that_is_not_there_yet_is_said_once_and_tried_again(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("edge.metrics.RETRY_S", 0.05)
    caplog.set_level(logging.INFO, "edge.metrics")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        observer = MetricsObserver(MetricsSettings(port=port), node="kitchen")
        time.sleep(0.3)
        observer.on_event(event())  # counting goes on
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith(
            f"metrics.address = 127.0.0.1, metrics.port = {port}: cannot listen there: Address already in use; choose"
        )
    try:
        end_s = time.monotonic() + 30
        while observer._server is None:
            assert time.monotonic() < end_s
            time.sleep(0.02)
        assert figures(observer)["tonelight_segments_total", ("happy",)] == 1
        assert caplog.records[-1].getMessage() == f"the figures are served at 127.0.0.1, port {port}, now"
    finally:
        observer.close()


def test_an_address_of_others_holds_up_neither_the_start_nor_the_end(tmp_path, caplog):
    secret = tmp_path / "token"
    secret.write_text("x")
    secret.chmod(0o600)
    observer = MetricsObserver(MetricsSettings(address="192.0.2.1", token_file=str(secret)), node="kitchen")
    assert "metrics.address = 192.0.2.1, metrics.port = 9730: cannot listen there: Cannot assign" in caplog.text
    observer.close()
    thread = observer._thread
    thread.join(30)
    assert not thread.is_alive()


def test_clients_that_say_nothing_do_not_keep_others_out(observer):
    silent = [socket.create_connection(("127.0.0.1", observer.port)) for _ in range(2)]
    assert ask(observer)[0] == 200
    for one in silent:
        one.close()


def test_a_client_that_lets_its_bytes_trickle_in_is_hung_up_on(observer):
    with socket.create_connection(("127.0.0.1", observer.port)) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nAuthorization: ")
        end_s = time.monotonic() + 8 * PATIENCE_S
        with pytest.raises(ConnectionError):
            while time.monotonic() < end_s:
                slow.sendall(b"x")
                time.sleep(0.2)
    assert ask(observer)[0] == 200


def test_the_end_frees_the_port_even_while_somebody_is_served(observer):
    with socket.create_connection(("127.0.0.1", observer.port)) as slow:
        slow.sendall(b"GET /metrics HTTP/1.0\r\n")
        port = observer.port
        observer.close()
        with socket.socket() as sock:
            assert sock.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("example", ["grafana_dashboard.json", "tonelight_alerts.yml"])
def test_the_examples_ask_for_what_there_is(example, observer):
    observer.on_health(health())
    observer.on_level(-30.0, False)
    there = {name for name, _ in figures(observer)}
    asked = set(re.findall(r"\b(?:tonelight|process)_[a-z_]+(?![a-z_.]*yml)\b", (EXAMPLES / example).read_text()))
    assert len(asked) >= 3
    assert asked - there == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("address = 'localhost'", "metrics.address: expected an IP address of this machine"),
        ("address = ''", "metrics.address: expected an IP address of this machine"),
        ("port = 0", "metrics.port = 0: expected a whole number from 1 to 65535"),
    ],
)
def test_settings_that_cannot_be_used(text, expected, tmp_path):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        config.parse(f"[metrics]\n{text}\n", Path(tmp_path / "config.toml"))


def _bucket(le: str) -> tuple[str, tuple[str, ...]]:
    return "tonelight_event_latency_seconds_bucket", (le,)
