"""What others may know of this board, told to an MQTT broker: labels and numbers, never sound.

    tonelight/<node>/event          each finished stretch of speech, in order, as the log keeps it
    tonelight/<node>/state          retained: who speaks now, and how it sounds
    tonelight/<node>/health         retained: phase, microphone, losses
    tonelight/<node>/mute           retained: ON or OFF; tonelight/<node>/mute/set takes the same
    tonelight/<node>/availability   retained: online, or offline as the broker says when the board has gone

All with QoS 1. The daemon's thread only puts things down; a thread of our own hands them over one by one and waits for
each to be acknowledged, so that order survives a broker that goes away. What was heard meanwhile waits in memory, the
last `WAITING` events of it. docs/mqtt.md tells the same to those who subscribe.
"""

from __future__ import annotations

import logging
import re
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from edge import home_assistant
from edge.credentials import read_secret
from edge.errors import ConfigError
from edge.events import UNCERTAIN, Score
from edge.extras import how_to_add
from edge.mute import Mute
from edge.observers import Health, Phase

if TYPE_CHECKING:
    import ssl

    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from edge.history import Event

log = logging.getLogger(__name__)

WAITING: Final = 1000
"""Events kept while the broker is away; then the oldest goes."""
STATE_S: Final = 1.0
"""A state that says nothing new but its numbers is sent at most this often."""
HEALTH_S: Final = 30.0
"""The same for health."""
CLOSE_S: Final = 0.5
"""How long the end waits for what is still to be delivered."""
KEEPALIVE_S: Final = 30
"""A board that has been silent for one and a half times this is offline."""
RETRY_S: Final = (1, 60)
"""Shortest and longest wait between attempts to reach the broker; it doubles in between."""
SHORT_S: Final = 10.0
"""A connection that ends sooner has not been one."""
N_SHORT: Final = 3
"""After so many of them in a row the longest wait comes at once."""


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is told to an MQTT broker: labels and numbers, never sound."""

    enabled: Annotated[bool, Meta(description="tell a broker, and let it mute this board")] = False
    host: Annotated[str, Meta(description="name or address of the broker")] = "localhost"
    port: Annotated[int, Meta(ge=0, le=65_535, description="its port; 0 = 8883 with tls, 1883 without")] = 0
    tls: Annotated[bool, Meta(description="encrypt, and check that the broker is who it says")] = False
    ca_file: Annotated[
        str, Meta(description="certificate (PEM) that signed the broker's; empty = those this system trusts")
    ] = ""
    username: Annotated[str, Meta(description="name to log in with; empty = none")] = ""
    password_file: Annotated[
        str,
        Meta(description="file with the password; empty = the credential mqtt-password of the service, if it has one"),
    ] = ""
    topic: Annotated[str, Meta(description="first part of every topic; the name of this device is the second")] = (
        "tonelight"
    )
    discovery: Annotated[
        str, Meta(description="prefix under which Home Assistant looks for devices; empty = do not tell it")
    ] = "homeassistant"

    def __post_init__(self) -> None:
        """Raises:
        ValueError: a value cannot be used.
        """
        if not re.fullmatch(r"[A-Za-z0-9._:%-]{1,253}", self.host):
            raise ValueError("host: expected a name or an address such as broker.lan or 192.168.1.10")
        for key, value in (("topic", self.topic), ("discovery", self.discovery)):
            if value and not re.fullmatch(r"[^\s+#$/\0](?:[^+#\0]{0,126}[^\s+#/\0])?", value):
                raise ValueError(f"{key}: expected a topic without + # $, without / at its ends, of 1 to 128 letters")
        if not self.topic:
            raise ValueError('topic: expected a topic, as in "tonelight"')
        if self.ca_file and not self.tls:
            raise ValueError("ca_file: is of no use without tls = true")
        if self.password_file and not self.username:
            raise ValueError("password_file: is of no use without username")

    @property
    def port_number(self) -> int:
        """`port`, or the usual one."""
        return self.port or (8883 if self.tls else 1883)


class MqttObserver:
    """Tells a broker. Safe to be called from the daemon's thread: nothing here waits for the network."""

    def __init__(
        self,
        settings: MqttSettings,
        *,
        node: str,
        mute: Mute,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to connect; a broker that is not there is tried again until it is.

        Raises:
            ConfigError: paho-mqtt is not installed, or the password, a certificate or the node's name cannot be used.
        """
        client = make_client(settings, node)
        self.n_dropped = 0
        """Events that nobody will get, because too many were waiting."""
        self._settings = settings
        self._mute = mute
        self._clock = clock
        base = f"{settings.topic}/{node}"
        self._topics = home_assistant.Topics(
            event=f"{base}/event",
            state=f"{base}/state",
            health=f"{base}/health",
            mute=f"{base}/mute",
            mute_set=f"{base}/mute/set",
            availability=f"{base}/availability",
        )
        self._birth_topic = f"{settings.discovery}/status" if settings.discovery else ""
        self._state = _State()
        self._state_sent_s = float("-inf")
        self._health_told: tuple[object, ...] = ()
        self._health_sent_s = float("-inf")
        self._trouble = ""
        self._complaint = ""
        self._is_refused = False
        self._connected_s = float("-inf")
        self._n_short = 0

        # Never held while anything is sent. paho holds a lock of its own while it calls back, so whoever publishes
        # with this one in hand would stop both threads for good.
        self._changed = threading.Condition()
        self._events: deque[bytes] = deque()
        self._retained: dict[str, bytes] = {}  # the newest of each topic
        self._due: dict[str, None] = {}  # topics of those that are to be sent, in order
        self._acknowledged: set[int] = set()
        self._n_in_flight = 0  # events handed over and not acknowledged yet: 0 or 1
        self._is_connected = False
        self._is_ending = False  # deliver what is there
        self._is_over = False  # and now leave it

        self._put(self._topics.availability, home_assistant.ONLINE.encode())
        self._put_mute()
        self._client = self._connected(client)
        self._worker = threading.Thread(target=self._work, name="mqtt", daemon=True)
        self._worker.start()
        self._client.loop_start()

    @property
    def n_waiting(self) -> int:
        """Events that the broker has not acknowledged yet."""
        with self._changed:
            return len(self._events) + self._n_in_flight

    # Called on the daemon's thread

    def on_level(self, level_db: float, speaking: bool) -> None:
        """Levels stay on the board; only that somebody began or ceased to speak is told."""
        if speaking != self._state.speaking:
            self._tell_state(msgspec.structs.replace(self._state, speaking=speaking))

    def on_score(self, score: Score) -> None:
        """The state, whenever the emotion changes, otherwise once in a while."""
        self._tell_state(_State(True, score.label or UNCERTAIN, round(score.confidence, 3), round(score.activation, 3)))

    def on_event(self, event: Event) -> None:
        """The event in its turn, and what it means for the state."""
        payload = msgspec.json.encode(event)
        with self._changed:
            if len(self._events) >= WAITING:
                self._events.popleft()
                self.n_dropped += 1
            self._events.append(payload)
            self._changed.notify_all()
        emotion = UNCERTAIN if event.uncertain else event.label
        activation = None if event.activation is None else round(event.activation, 3)
        self._tell_state(_State(False, emotion, round(event.confidence, 3), activation))

    def on_health(self, health: Health) -> None:
        """Health, when there is news, otherwise once in a while."""
        if health.phase is not Phase.LISTENING and self._state.speaking:
            self._tell_state(msgspec.structs.replace(self._state, speaking=False))
        self._put_mute()
        news = (
            *(health.phase, health.reason, health.microphone, health.model, health.n_gaps, self.n_dropped),
            *(health.light_fault, health.capturing_s > 0),  # that clips are kept is news, for how long is not
        )
        now_s = self._clock()
        if news != self._health_told or now_s - self._health_sent_s >= HEALTH_S:
            self._health_told, self._health_sent_s = news, now_s
            fields = msgspec.to_builtins(health) | {"n_events_dropped": self.n_dropped}
            self._put(self._topics.health, msgspec.json.encode(fields))
            if self._settings.discovery:
                self._put(*home_assistant.discovery(self._settings.discovery, self._topics, health.node, health.model))

    def close(self) -> None:
        """Deliver what still waits, for a moment, and say that this board is offline."""
        with self._changed:
            self._is_ending = True
            self._retained[self._topics.availability] = home_assistant.OFFLINE.encode()
            self._due.pop(self._topics.availability, None)
            self._due[self._topics.availability] = None
            self._changed.notify_all()
        self._worker.join(CLOSE_S)
        n_left = self.n_waiting
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            is_connected = self._is_connected
        # Who takes leave before all is delivered has no last will: then the end of the program breaks the connection,
        # and the broker says that this board is offline.
        if not (is_connected and self._worker.is_alive()):
            self._client.disconnect()
        if n_left:
            log.warning("%d events did not get to the MQTT broker any more; the log of this board has them", n_left)

    def _tell_state(self, state: _State) -> None:
        now_s = self._clock()
        is_news = (state.speaking, state.emotion) != (self._state.speaking, self._state.emotion)
        self._state = state
        if is_news or not state.speaking or now_s - self._state_sent_s >= STATE_S:
            self._state_sent_s = now_s
            self._put(self._topics.state, msgspec.json.encode(state))

    def _put_mute(self, *, again: bool = False) -> None:
        self._put(self._topics.mute, b"ON" if self._mute.is_on else b"OFF", again=again)

    def _put(self, topic: str, payload: bytes, *, again: bool = False) -> None:
        """Have `payload` sent as the retained message of `topic`, in place of one that is still waiting.

        What the broker has already is only sent `again` where that is asked for.
        """
        with self._changed:
            if again or self._retained.get(topic) != payload:
                self._retained[topic] = payload
                self._due[topic] = None
                self._changed.notify_all()

    # The thread that delivers

    def _work(self) -> None:
        while (message := self._next()) is not None:
            topic, payload, retain = message
            mid = self._client.publish(topic, payload, qos=1, retain=retain).mid
            with self._changed:
                # A connection that breaks meanwhile is no reason to give up: paho sends it again on the next one.
                self._changed.wait_for(lambda mid=mid: mid in self._acknowledged or self._is_over)  # type: ignore[misc]
                if mid not in self._acknowledged:
                    return
                self._acknowledged.remove(mid)
                if not retain:
                    self._n_in_flight = 0

    def _next(self) -> tuple[str, bytes, bool] | None:
        """What is to be sent now, once there is a connection; None at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_ending or (self._is_connected and bool(self._due or self._events)),
            )
            if self._is_over or not self._is_connected:
                return None
            if self._due and not (self._is_ending and self._events):
                topic = next(iter(self._due))
                del self._due[topic]
                return topic, self._retained[topic], True
            if self._events:
                self._n_in_flight = 1
                return self._topics.event, self._events.popleft(), False
            return None

    # Called on paho's thread

    def _on_connect(
        self, client: Client, _: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._is_refused = reason.is_failure
        if self._is_refused:
            way_out = "check mqtt.username and the password" if reason.value in (0x86, 0x87) else "see the broker's log"
            self._begin_trouble(f"{self._broker} refuses this device: {reason}; {way_out}")
            return
        client.subscribe([(topic, 1) for topic in (self._topics.mute_set, self._birth_topic) if topic])
        self._connected_s = self._clock()
        if self._n_short < N_SHORT:
            self._end_trouble()
        with self._changed:
            self._is_connected = True
            self._due = dict.fromkeys(self._retained)  # it may have forgotten everything
            self._changed.notify_all()

    def _on_connect_fail(self, client: Client, _: Any) -> None:
        # paho does not hand over why, but calls from where it caught it
        error = sys.exc_info()[1]
        import ssl  # late, here and below: 5 MB of memory that a daemon without a broker has no use for

        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"its certificate cannot be trusted: {error.verify_message}; check mqtt.host and mqtt.ca_file"
        elif isinstance(error, ssl.SSLError):
            why = f"TLS fails: {error.reason or error}; check mqtt.port and mqtt.tls"
        elif isinstance(error, socket.gaierror):
            why = f"there is no such host: {error.strerror}; check mqtt.host"
        elif isinstance(error, ConnectionResetError):
            why = "it hangs up; check mqtt.port and mqtt.tls"
        else:
            why = f"{getattr(error, 'strerror', None) or error or 'no answer'}; check mqtt.host and that it runs"
        self._begin_trouble(f"{self._broker} cannot be reached: {why}")

    def _on_disconnect(
        self, client: Client, _: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self._changed:
            was_connected, self._is_connected = self._is_connected, False
            is_ending = self._is_ending
        if is_ending or (self._is_refused and not was_connected):
            return  # it is known why
        if not was_connected:
            self._begin_trouble(f"{self._broker} cannot be reached: it hangs up; check mqtt.port and mqtt.tls")
            return
        self._n_short = self._n_short + 1 if self._clock() - self._connected_s < SHORT_S else 0
        if self._n_short < N_SHORT:
            client.reconnect_delay_set(*RETRY_S)
            self._begin_trouble(f"{self._broker} has gone")
        else:
            # two devices of one name would push each other out all day long
            client.reconnect_delay_set(RETRY_S[1], RETRY_S[1])
            self._begin_trouble(
                f"{self._broker} hangs up again and again: see its log; is there another device with the name of this "
                "one (give each its own node in config.toml), or do its access rules forbid a topic?"
            )

    def _on_publish(self, client: Client, _: Any, mid: int, reason: ReasonCode, properties: Properties | None) -> None:
        with self._changed:
            self._acknowledged.add(mid)
            self._changed.notify_all()

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        if message.topic == self._birth_topic:
            if message.payload == b"online":
                with self._changed:
                    self._due = dict.fromkeys(self._retained)
                    self._changed.notify_all()
            return
        wanted = {b"ON": True, b"OFF": False}.get(bytes(message.payload).strip().upper())
        if message.retain:
            self._complain(f"a retained message on {message.topic} is ignored: it would come back at every start")
        elif wanted is None:
            self._complain(f"{message.topic} takes ON or OFF; something else was ignored")
        else:
            try:
                self._mute.set(wanted)
            except OSError as error:
                self._complain(
                    f"{self._mute.path}: the mute switch cannot be kept: {error.strerror}; check the folder's owner"
                )
            self._put_mute(again=True)  # the answer may also be that nothing has changed

    def _connected(self, client: Client) -> Client:
        settings = self._settings
        client.will_set(self._topics.availability, home_assistant.OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(*RETRY_S)
        if settings.username and not settings.tls and settings.host not in ("localhost", "127.0.0.1", "::1"):
            log.warning("the password for %s crosses the network as it is; set mqtt.tls = true", self._broker)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.connect_async(settings.host, settings.port_number, keepalive=KEEPALIVE_S)
        return client

    @property
    def _broker(self) -> str:
        return f"the MQTT broker {self._settings.host}:{self._settings.port_number}"

    def _begin_trouble(self, text: str) -> None:
        if text != self._trouble:
            log.error("%s (it is tried again; events wait)", text)
        self._trouble = text

    def _end_trouble(self) -> None:
        lost = f"; {self.n_dropped} events were lost since the start" if self.n_dropped else ""
        log.info("connected to %s%s", self._broker, lost)
        self._trouble = ""

    def _complain(self, text: str) -> None:
        """Say it, but not again and again: whoever sends the same nonsense all day must not fill the log."""
        if text != self._complaint:
            log.warning("%s", text)
        self._complaint = text


class _State(msgspec.Struct, frozen=True):
    """What `state` tells; null until the first word."""

    speaking: bool = False
    emotion: str | None = None
    confidence: float | None = None
    activation: float | None = None


def make_client(settings: MqttSettings, node: str) -> Client:
    """With all it takes to log in; it connects to nothing yet.

    Raises:
        ConfigError: paho-mqtt is not installed, or the password, a certificate or the node's name cannot be used.
    """
    if not re.fullmatch(r"[^/+#\0]+", node):
        raise ConfigError(
            f'the name of this device, "{node}", cannot be part of an MQTT topic: set node in config.toml to one '
            "without / + #"
        )
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise ConfigError(
            f"mqtt.enabled needs the library paho-mqtt 2: {how_to_add('mqtt')}, or set mqtt.enabled = false"
        ) from None
    client = Client(CallbackAPIVersion.VERSION2, client_id=f"{settings.topic}-{node}")
    if settings.username:
        password = read_secret("mqtt.password_file", settings.password_file, "mqtt-password")
        client.username_pw_set(settings.username, password)
    if settings.tls:
        client.tls_set_context(_tls_context(settings.ca_file))
    return client


def _tls_context(ca_file: str) -> ssl.SSLContext:
    """Raises:
    ConfigError: `ca_file` cannot be read or holds no certificate.
    """
    import ssl

    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except ssl.SSLError:
        raise ConfigError(f"mqtt.ca_file = {ca_file}: holds no certificate in PEM form") from None
    except OSError as error:
        raise ConfigError(f"mqtt.ca_file = {ca_file}: cannot be read: {error.strerror}") from None
