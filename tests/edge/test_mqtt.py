"""Against a real Mosquitto: what it is told, that it goes away and comes back, passwords, certificates, names."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import broker
import msgspec
import pytest
from broker import Broker, Listener, needs_mosquitto
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from observed import event, health, score
from paho.mqtt.client import MQTTMessage

from edge import config
from edge.errors import ConfigError
from edge.history import Event, read_events
from edge.mqtt import WAITING, MqttObserver, MqttSettings
from edge.mute import Mute
from edge.observers import Phase


def until(condition: Callable[[], object]) -> None:
    end_s = time.monotonic() + broker.PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Broker]:
    """A broker that remembers sessions and retained messages when it is restarted."""
    folder = tmp_path / "broker"
    folder.mkdir()
    running = Broker(folder, "persistence true", f"persistence_location {folder}/")
    yield running
    running.stop()


@pytest.fixture
def listener(mosquitto: Broker) -> Iterator[Listener]:
    listening = Listener(mosquitto.port)
    yield listening
    listening.close()


@pytest.fixture
def board(mosquitto: Broker, tmp_path: Path) -> Iterator[Callable[..., MqttObserver]]:
    """Makes observers, and ends them after the test."""
    made = []

    def make(node: str = "kitchen", **settings: object) -> MqttObserver:
        told = MqttSettings(**({"enabled": True, "host": "127.0.0.1", "port": mosquitto.port} | settings))
        made.append(MqttObserver(told, node=node, mute=Mute(tmp_path / "state" / "muted")))
        return made[-1]

    yield make
    for observer in made:
        observer.close()


@needs_mosquitto
def test_the_life_of_a_board(board, listener):
    observer = board()
    observer.on_health(health())
    observer.on_level(-30.0, True)
    listener.wait_json("tonelight/kitchen/state", speaking=True, emotion=None)
    observer.on_score(score(None, 0.31))
    listener.wait_json("tonelight/kitchen/state", speaking=True, emotion="uncertain", confidence=0.31, activation=0.8)
    observer.on_score(score("happy", 0.62))
    listener.wait_json("tonelight/kitchen/state", speaking=True, emotion="happy", confidence=0.62)
    heard = event(1)
    observer.on_event(heard)
    told = listener.wait_json("tonelight/kitchen/event", mono_s=1.0)
    assert told == json.loads(json.dumps({name: getattr(heard, name) for name in Event.__struct_fields__}))
    listener.wait_json("tonelight/kitchen/state", speaking=False, emotion="happy", confidence=0.65, activation=0.9)
    observer.on_event(event(2, uncertain=True))
    listener.wait_json("tonelight/kitchen/state", speaking=False, emotion="uncertain")
    listener.wait_json("tonelight/kitchen/health", phase="listening", n_lost=1600, n_events_dropped=0)
    listener.wait_for("tonelight/kitchen/availability", b"online")
    observer.close()
    listener.wait_for("tonelight/kitchen/availability", b"offline")
    assert {payload for topic, payload, _ in listener.messages if "level" in topic} == set()


@needs_mosquitto
def test_who_comes_later_hears_how_it_is_but_not_what_was(board, listener, mosquitto):
    observer = board()
    observer.on_health(health(Phase.FAULT, reason="no microphone"))
    observer.on_event(event())
    listener.wait_json("tonelight/kitchen/event")
    listener.wait_json("tonelight/kitchen/state", emotion="happy")
    listener.wait_json("tonelight/kitchen/health", phase="fault")
    listener.close()
    # a session of its own, and a new one: the same client would not get retained messages twice
    with_nothing = subprocess.run(
        ["mosquitto_sub", "-p", str(mosquitto.port), "-t", "tonelight/#", "-W", "2", "-F", "%t %r"],
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    assert sorted(filter(None, with_nothing)) == [
        "tonelight/kitchen/availability 1",
        "tonelight/kitchen/health 1",
        "tonelight/kitchen/mute 1",
        "tonelight/kitchen/state 1",
    ]


@needs_mosquitto
def test_numbers_alone_are_told_once_in_a_while(mosquitto, listener, tmp_path):
    now_s = 0.0
    observer = MqttObserver(
        MqttSettings(host="127.0.0.1", port=mosquitto.port),
        node="kitchen",
        mute=Mute(tmp_path / "muted"),
        clock=lambda: now_s,
    )
    listener.wait_for("tonelight/kitchen/availability", b"online")
    for step in range(30):  # three seconds of speech, ten scores a second
        now_s = step / 10
        observer.on_score(score(confidence=0.5 + step / 100))
        observer.on_health(health(uptime_s=now_s))
        until(lambda: not observer._due)
    observer.on_event(event())
    listener.wait_json("tonelight/kitchen/state", speaking=False)
    told = [json.loads(payload) for payload in listener.payloads("tonelight/kitchen/state")]
    assert [one["confidence"] for one in told if one["speaking"]] == [0.5, 0.6, 0.7]
    assert len(listener.payloads("tonelight/kitchen/health")) == 1
    observer.on_health(health(Phase.MUTED))
    listener.wait_json("tonelight/kitchen/health", phase="muted")
    observer.close()


@needs_mosquitto
def test_a_dead_light_and_clips_that_are_kept_are_told_at_once(mosquitto, listener, tmp_path):
    observer = MqttObserver(
        MqttSettings(host="127.0.0.1", port=mosquitto.port),
        node="kitchen",
        mute=Mute(tmp_path / "muted"),
        clock=lambda: 0.0,
    )
    topic = "tonelight/kitchen/health"
    observer.on_health(health())
    listener.wait_json(topic, light_fault="", capturing_s=0.0)
    observer.on_health(health(light_fault="GPIO 17 is gone; mend it"))
    listener.wait_json(topic, light_fault="GPIO 17 is gone; mend it")
    observer.on_health(health(capturing_s=1800.0))
    listener.wait_json(topic, light_fault="", capturing_s=1800.0)
    observer.on_health(health(capturing_s=1799.0))  # no news
    observer.on_health(health())
    listener.wait_json(topic, capturing_s=0.0)
    assert len(listener.payloads(topic)) == 4
    observer.close()


@needs_mosquitto
def test_mute_and_unmute(board, listener, tmp_path):
    observer = board()
    mute = Mute(tmp_path / "state" / "muted")
    listener.wait_for("tonelight/kitchen/mute", b"OFF")
    listener.wait_for("tonelight/kitchen/availability", b"online")
    listener.publish("tonelight/kitchen/mute/set", b"ON")
    listener.wait_for("tonelight/kitchen/mute", b"ON")
    assert mute.is_on
    listener.publish("tonelight/kitchen/mute/set", b"off")
    listener.wait_for("tonelight/kitchen/mute", b"OFF")
    assert not mute.is_on
    mute.set(True)  # somebody presses the button
    observer.on_health(health(Phase.MUTED))
    listener.wait_for("tonelight/kitchen/mute", b"ON")


def test_at_no_moment_is_anything_due_that_is_not_there(tmp_path):
    """A command comes while the mute switch is still to be told: whoever delivers may look at any moment."""
    missing: list[set[str]] = []

    class Watched(Mute):
        @property
        def is_on(self) -> bool:
            missing.extend({*observer._due} - {*observer._retained} for observer in made)
            return super().is_on

    made: list[MqttObserver] = []
    nobody = MqttSettings(host="127.0.0.1", port=broker.free_port())
    made.append(MqttObserver(nobody, node="kitchen", mute=Watched(tmp_path / "muted")))
    (observer,) = made
    assert "tonelight/kitchen/mute" in observer._due
    command = MQTTMessage(topic=b"tonelight/kitchen/mute/set")
    command.payload = b"ON"
    observer._on_message(observer._client, None, command)
    observer.close()
    assert (missing, observer._retained["tonelight/kitchen/mute"]) == ([set()], b"ON")


@needs_mosquitto
def test_commands_that_are_none(board, listener, tmp_path, caplog):
    # left behind by somebody, it would mute the board again at every start
    listener.publish("tonelight/kitchen/mute/set", b"ON", retain=True)
    board()
    listener.wait_for("tonelight/kitchen/availability", b"online")
    until(lambda: "a retained message on tonelight/kitchen/mute/set is ignored" in caplog.text)
    for payload in (b"", b"TOGGLE", b"\xff\xfe", b"1" * 100_000):
        listener.publish("tonelight/kitchen/mute/set", payload)
    until(lambda: "tonelight/kitchen/mute/set takes ON or OFF; something else was ignored" in caplog.text)
    (tmp_path / "state").write_text("in the way of the folder")
    listener.publish("tonelight/kitchen/mute/set", b"ON")
    until(lambda: "muted: the mute switch cannot be kept: " in caplog.text)
    (tmp_path / "state").unlink()
    listener.publish("tonelight/kitchen/mute/set", b"ON")
    listener.wait_for("tonelight/kitchen/mute", b"ON")
    assert len(caplog.records) == len({record.getMessage() for record in caplog.records}), "said twice"


@needs_mosquitto
def test_home_assistant_is_told_again_when_it_starts(board, listener):
    board().on_health(health())
    topic = "homeassistant/device/tonelight_kitchen/config"
    listener.wait(lambda: len(listener.payloads(topic)) == 1)
    listener.wait_for("tonelight/kitchen/availability", b"online")
    listener.publish("homeassistant/status", b"offline")
    listener.publish("homeassistant/status", b"online")
    listener.wait(lambda: len(listener.payloads(topic)) == 2)
    first, second = listener.payloads(topic)
    assert first == second


@needs_mosquitto
def test_without_discovery_home_assistant_is_not_told(board, listener):
    board(discovery="", topic="flat/upstairs").on_health(health())
    listener.wait_for("flat/upstairs/kitchen/availability", b"online")
    assert [topic for topic, _, _ in listener.messages if topic.startswith("homeassistant")] == []


@needs_mosquitto
def test_a_broker_that_restarts_gets_everything_in_order(board, listener, mosquitto, caplog):
    observer = board()
    observer.on_event(event(0))
    listener.wait_json("tonelight/kitchen/event", mono_s=0.0)
    mosquitto.stop()
    for number in range(1, 101):
        observer.on_event(event(number))
    assert observer.n_waiting == 100
    mosquitto.start()
    listener.wait_json("tonelight/kitchen/event", mono_s=100.0)
    numbers = [json.loads(payload)["mono_s"] for payload in listener.payloads("tonelight/kitchen/event")]
    # at least once: what was on its way when the connection broke may come twice, but never out of order
    assert list(dict.fromkeys(numbers)) == [float(number) for number in range(101)]
    assert numbers == sorted(numbers)
    until(lambda: observer.n_waiting == 0)
    assert observer.n_dropped == 0
    assert "has gone" in caplog.text


@needs_mosquitto
def test_a_broker_that_forgot_everything_is_told_again(board, listener, mosquitto):
    mosquitto.configure("persistence false")
    observer = board()
    observer.on_health(health())
    observer.on_event(event())
    listener.wait_json("tonelight/kitchen/state", emotion="happy")
    listener.close()
    mosquitto.stop()
    (mosquitto.folder / "mosquitto.db").unlink(missing_ok=True)
    mosquitto.start()
    again = Listener(mosquitto.port)
    again.wait_json("tonelight/kitchen/state", emotion="happy")
    again.wait_for("tonelight/kitchen/availability", b"online")
    again.wait(lambda: again.payloads("homeassistant/device/tonelight_kitchen/config"))
    again.close()


@needs_mosquitto
def test_while_the_broker_is_away_the_oldest_events_go_first(board, listener, mosquitto):
    mosquitto.stop()
    observer = board()
    for number in range(WAITING + 50):
        observer.on_event(event(number))
    assert (observer.n_waiting, observer.n_dropped) == (WAITING, 50)
    mosquitto.start()
    listener.wait_json("tonelight/kitchen/event", mono_s=WAITING + 49.0)
    numbers = [json.loads(payload)["mono_s"] for payload in listener.payloads("tonelight/kitchen/event")]
    assert numbers == [float(number) for number in range(50, WAITING + 50)]
    observer.on_health(health())
    listener.wait_json("tonelight/kitchen/health", n_events_dropped=50)


@needs_mosquitto
def test_a_board_without_power_is_offline(listener, mosquitto, tmp_path):
    code = f"""
import time
from pathlib import Path
from edge.mqtt import MqttObserver, MqttSettings
from edge.mute import Mute
MqttObserver(
    MqttSettings(host="127.0.0.1", port={mosquitto.port}), node="attic", mute=Mute(Path("{tmp_path}/muted"))
)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        listener.wait_for("tonelight/attic/availability", b"online")
    finally:
        process.kill()
        process.wait()
    listener.wait_for("tonelight/attic/availability", b"offline")


@needs_mosquitto
def test_what_is_heard_last_is_delivered_before_the_end(board, listener):
    observer = board()
    listener.wait_for("tonelight/kitchen/availability", b"online")
    for number in range(5):
        observer.on_event(event(number))
    observer.close()
    listener.wait_for("tonelight/kitchen/availability", b"offline")
    assert [json.loads(payload)["mono_s"] for payload in listener.payloads("tonelight/kitchen/event")] == [
        0,
        1,
        2,
        3,
        4,
    ]


@needs_mosquitto
def test_the_end_does_not_wait_for_a_broker_that_is_away(board, mosquitto, caplog):
    observer = board()
    mosquitto.stop()
    observer.on_event(event())
    observer.close()
    assert "1 events did not get to the MQTT broker any more; the log of this board has them" in caplog.text


@needs_mosquitto
def test_a_broker_that_hangs_holds_nobody_up(board, listener, mosquitto, caplog):
    observer = board()
    listener.wait_for("tonelight/kitchen/availability", b"online")
    with mosquitto.frozen():
        for number in range(3 * WAITING):
            observer.on_event(event(number))
        # one is on its way, the rest waits
        assert WAITING <= observer.n_waiting <= WAITING + 1
        observer.close()
    assert f"{observer.n_waiting} events did not get to the MQTT broker any more" in caplog.text


@needs_mosquitto
def test_two_boards_of_one_name(board, listener, caplog):
    board()
    listener.wait_for("tonelight/kitchen/availability", b"online")
    board()
    until(
        lambda: (
            "hangs up again and again: see its log; is there another device with the name of this one" in caplog.text
        )
    )


@needs_mosquitto
def test_a_wrong_password_and_then_the_right_one(tmp_path, mosquitto, board, caplog):
    subprocess.run(["mosquitto_passwd", "-b", "-c", mosquitto.folder / "users", "kitchen", "right"], check=True)
    (mosquitto.folder / "access").write_text(
        # the rules of docs/mqtt.md
        "pattern readwrite tonelight/%u/#\n"
        "pattern write homeassistant/device/+/config\n"
        "pattern read homeassistant/status\n"
    )
    mosquitto.stop()
    mosquitto.configure(f"password_file {mosquitto.folder}/users", f"acl_file {mosquitto.folder}/access")
    mosquitto.start()
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    observer = board(username="kitchen", password_file=str(secret))
    observer.on_health(health())
    observer.on_event(event())
    until(lambda: "refuses this device: Not authorized; check mqtt.username and the password" in caplog.text)
    assert observer.n_waiting == 1
    # on the broker's side it can be mended without touching the board
    subprocess.run(["mosquitto_passwd", "-b", mosquitto.folder / "users", "kitchen", "wrong"], check=True)
    mosquitto.stop()
    mosquitto.start()
    until(lambda: observer.n_waiting == 0)
    assert "wrong" not in caplog.text.replace("wrong-", ""), "a password in the log"


@needs_mosquitto
def test_access_rules_that_forbid_a_topic(mosquitto, board, caplog):
    (mosquitto.folder / "access").write_text("topic readwrite tonelight/#\n")
    mosquitto.stop()
    mosquitto.configure(f"acl_file {mosquitto.folder}/access")
    mosquitto.start()
    observer = board()
    observer.on_health(health())
    observer.on_event(event())
    # Mosquitto takes what is forbidden and drops it; its versions before 2.0.12 hang up instead
    until(lambda: observer.n_waiting == 0 or "or do its access rules forbid a topic?" in caplog.text)


def certificates(folder: Path, name: str) -> None:
    """ca.pem, and server.pem with server.key for the host `name`."""
    now = datetime.now(timezone.utc)

    def sign(subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, is_ca: bool):
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        )
        if is_ca:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            made = made.add_extension(usage, critical=True)
        return made.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ours, theirs = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    (folder / "ca.pem").write_bytes(sign("test authority", ours, "test authority", ours, True))
    (folder / "server.pem").write_bytes(sign(name, theirs, "test authority", ours, False))
    (folder / "server.key").write_bytes(
        theirs.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@needs_mosquitto
def test_tls(mosquitto, board, caplog):
    folder = mosquitto.folder
    certificates(folder, "localhost")
    mosquitto.stop()
    mosquitto.configure(f"certfile {folder}/server.pem", f"keyfile {folder}/server.key")
    mosquitto.start()
    trusting = board("trusting", host="localhost", tls=True, ca_file=str(folder / "ca.pem"))
    trusting.on_event(event())
    until(lambda: trusting.n_waiting == 0)
    assert caplog.records == []
    # not in the name of this host; signed by nobody known; not encrypted at all
    for host, settings, complaint in (
        (
            "127.0.0.1",
            {"tls": True, "ca_file": str(folder / "ca.pem")},
            "its certificate cannot be trusted: IP address",
        ),
        ("localhost", {"tls": True}, "its certificate cannot be trusted: "),
    ):
        caplog.clear()
        refusing = board("refusing", host=host, **settings)
        refusing.on_event(event())
        until(lambda complaint=complaint: complaint in caplog.text)
        assert refusing.n_waiting == 1
        assert "check mqtt.host and mqtt.ca_file (it is tried again; events wait)" in caplog.text
        refusing.close()


@needs_mosquitto
def test_tls_where_there_is_none(mosquitto, board, caplog):
    board(host="localhost", tls=True)
    until(lambda: "cannot be reached: it hangs up; check mqtt.port and mqtt.tls" in caplog.text)


@needs_mosquitto
def test_no_tls_where_there_is_some(mosquitto, board, caplog):
    certificates(mosquitto.folder, "localhost")
    mosquitto.stop()
    mosquitto.configure(f"certfile {mosquitto.folder}/server.pem", f"keyfile {mosquitto.folder}/server.key")
    mosquitto.start()
    board()
    until(lambda: "cannot be reached: it hangs up; check mqtt.port and mqtt.tls" in caplog.text)


@needs_mosquitto
def test_nobody_there(board, caplog):
    board(port=broker.free_port())
    until(lambda: "cannot be reached: Connection refused; check mqtt.host and that it runs" in caplog.text)
    board("bedroom", host="no-such-host.invalid")
    until(lambda: "cannot be reached: there is no such host: " in caplog.text)


@needs_mosquitto
def test_an_odd_but_allowed_name(board, listener):
    board("Küche links").on_health(health(node="Küche links"))

    def told() -> list[str]:
        return [topic for topic, _, _ in listener.messages if topic.startswith("homeassistant/")]

    listener.wait_for("tonelight/Küche links/availability", b"online")
    assert listener.wait(told)[0].removesuffix("/config").rpartition("/")[2].startswith("tonelight_K_che_links_")


@pytest.mark.parametrize("node", ["a/b", "a+b", "#", "a\0b"])
def test_a_name_that_cannot_be_part_of_a_topic(node, tmp_path):
    with pytest.raises(ConfigError, match=r"set node in config\.toml to one"):
        MqttObserver(MqttSettings(), node=node, mute=Mute(tmp_path / "muted"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host = ''", "mqtt.host: expected a name or an address"),
        ("host = 'mqtt://broker'", "mqtt.host: expected a name or an address"),
        ("port = 65536", "mqtt.port = 65536: expected a whole number from 0 to 65535"),
        ("topic = 'a/#'", "mqtt.topic: expected a topic without"),
        ("topic = '/a'", "mqtt.topic: expected a topic without"),
        ("topic = ''", "mqtt.topic: expected a topic"),
        ("discovery = 'a+'", "mqtt.discovery: expected a topic without"),
        ("ca_file = 'ca.pem'", "mqtt.ca_file: is of no use without tls = true"),
        ("password_file = 'p'", "mqtt.password_file: is of no use without username"),
        ("password = 'secret'", "unknown key mqtt.password (did you mean mqtt.password_file?)"),
    ],
)
def test_settings_that_cannot_be_used(text, expected, tmp_path):
    file = tmp_path / "config.toml"
    with pytest.raises(ConfigError) as caught:
        config.parse(f"[mqtt]\n{text}\n", file)
    assert str(caught.value).startswith(f"{file}: {expected}")


def test_files_are_found_from_the_configuration(tmp_path):
    text = "[mqtt]\ntls = true\nca_file = 'ca.pem'\nusername = 'u'\npassword_file = 'secret'\n"
    loaded = config.parse(text, tmp_path / "config.toml")
    assert (loaded.mqtt.ca_file, loaded.mqtt.password_file) == (str(tmp_path / "ca.pem"), str(tmp_path / "secret"))
    assert config.parse(config.render(loaded), tmp_path / "config.toml") == loaded
    assert (loaded.mqtt.port_number, MqttSettings().port_number) == (8883, 1883)


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(ConfigError, match=r"needs the library paho-mqtt 2: `\S+ -m pip install \"tonelight\[mqtt\]\"`"):
        MqttObserver(MqttSettings(), node="kitchen", mute=Mute(tmp_path / "muted"))


def test_a_certificate_that_is_none(tmp_path):
    (tmp_path / "ca.pem").write_text("nonsense")
    for file, expected in (
        ("ca.pem", "holds no certificate in PEM form"),
        ("gone.pem", "cannot be read: No such file"),
    ):
        settings = MqttSettings(tls=True, ca_file=str(tmp_path / file))
        with pytest.raises(ConfigError, match=f"mqtt.ca_file = {tmp_path / file}: {expected}"):
            MqttObserver(settings, node="kitchen", mute=Mute(tmp_path / "muted"))


@needs_mosquitto
def test_the_whole_program(mosquitto, listener, home):
    """What `tonelight run` hears of the demo recording is at the broker as it is in the log; passwords are not told."""
    secret = home / "password"
    secret.write_text("open sesame")
    secret.chmod(0o600)
    (home / "config.toml").write_text(
        f"""
        node = "kitchen"
        [mqtt]
        enabled = true
        host = "127.0.0.1"
        port = {mosquitto.port}
        username = "kitchen"
        password_file = "password"
        """
    )
    command = [sys.executable, "-m", "edge", "run", "--config", home / "config.toml", "--source", config.demo_path()]
    done = subprocess.run([*command, "--fast"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "open sesame" not in done.stdout + done.stderr
    listener.wait_for("tonelight/kitchen/availability", b"offline")
    logged = [json.loads(msgspec.json.encode(one)) for one in read_events(home / "state" / "history.db")]
    told = [json.loads(payload) for payload in listener.payloads("tonelight/kitchen/event")]
    assert told == logged[: len(told)]
    # what a slow machine does not deliver at the end, it says
    left = re.search(r"(\d+) events did not get to the MQTT broker", done.stderr)
    assert len(told) == len(logged) - (int(left[1]) if left else 0) > 0
    device = json.loads(listener.payloads("homeassistant/device/tonelight_kitchen/config")[-1])["device"]
    assert device["sw_version"].endswith(logged[0]["model"])
