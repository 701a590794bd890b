"""What Home Assistant is told, against what its documentation asks of MQTT device discovery.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload and the pages sensor.mqtt, binary_sensor.mqtt,
switch.mqtt and event.mqtt. The templates are rendered as it does, from what a board really says.
"""

import json
import re
from pathlib import Path

import jinja2.sandbox
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from observed import event, health

from edge.events import UNCERTAIN
from edge.home_assistant import Topics, discovery, unique_id
from edge.labels import EMOTIONS
from edge.mqtt import _State
from edge.observers import Phase

TOPICS = Topics(
    *(f"tonelight/kitchen/{name}" for name in ("event", "state", "health", "mute", "mute/set", "availability"))
)

TEXT = re.compile(".+", re.DOTALL)
TOPIC = re.compile(r"[^+#\0]+")
ENTITY = {
    # what every entity may have
    "platform!": TEXT,
    "unique_id!": TEXT,  # required in device discovery
    "name": TEXT,
    "icon": re.compile("mdi:[a-z-]+"),
    "entity_category": re.compile("diagnostic"),
    "json_attributes_topic": TOPIC,
}
READ = {"state_topic!": TOPIC, "value_template": TEXT}
PLATFORMS = {
    "sensor": ENTITY
    | READ
    | {
        "device_class": re.compile("enum|duration"),
        "options": list,
        "state_class": re.compile("measurement|total|total_increasing"),
        "unit_of_measurement": TEXT,
        "suggested_display_precision": int,
    },
    "binary_sensor": ENTITY | READ | {"device_class": re.compile("sound|problem")},
    "switch": ENTITY | {"command_topic!": TOPIC, "state_topic": TOPIC},
    "event": ENTITY | READ | {"event_types!": list},
}
DEVICE = {"identifiers!": list, "name": TEXT, "manufacturer": TEXT, "model": TEXT, "sw_version": TEXT}
ORIGIN = {"name!": TEXT, "sw_version": TEXT}
WHOLE = {
    "device!": dict,
    "origin!": dict,
    "components!": dict,
    "availability_topic": TOPIC,
    "payload_available": TEXT,
    "payload_not_available": TEXT,
    "qos": int,
}


def check(table, schema):
    """Nothing that is not documented, nothing missing that is required, and all of the right kind."""
    allowed = {key.rstrip("!"): kind for key, kind in schema.items()}
    assert table.keys() <= allowed.keys()
    assert {key.rstrip("!") for key in schema if key.endswith("!")} <= table.keys()
    for key, value in table.items():
        kind = allowed[key]
        assert isinstance(value, str if isinstance(kind, re.Pattern) else kind), key
        assert not isinstance(kind, re.Pattern) or kind.fullmatch(value), key


@pytest.fixture(scope="module")
def told():
    topic, payload = discovery("homeassistant", TOPICS, "kitchen", "tonelight-0.1.0")
    assert topic == "homeassistant/device/tonelight_kitchen/config"
    return json.loads(payload)


def test_the_documented_form(told):
    check(told, WHOLE)
    check(told["device"], DEVICE)
    check(told["origin"], ORIGIN)
    for entity in told["components"].values():
        check(entity, PLATFORMS[entity["platform"]])
        if "options" in entity:  # documented: only with enum, and neither with a unit nor with a state class
            assert entity["device_class"] == "enum"
            assert not entity.keys() & {"unit_of_measurement", "state_class"}
    ids = [entity["unique_id"] for entity in told["components"].values()]
    assert len(set(ids)) == len(ids) == 8


def rendered(entity, payload: bytes) -> str:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment()
    environment.filters["to_json"] = json.dumps
    template = environment.from_string(entity.get("value_template", "{{ value }}"))
    return template.render(value=payload.decode(), value_json=json.loads(payload))


@pytest.mark.parametrize("emotion", [*EMOTIONS, UNCERTAIN])
def test_what_is_made_of_a_state(emotion, told):
    payload = msgspec.json.encode(_State(True, emotion, 0.625, 0.25))
    seen = {name: rendered(entity, payload) for name, entity in told["components"].items() if _of(entity, TOPICS.state)}
    assert seen == {"emotion": emotion, "confidence": "62.5", "activation": "25.0", "speaking": "ON"}
    assert emotion in told["components"]["emotion"]["options"]


def test_what_is_made_of_a_state_before_the_first_word(told):
    payload = msgspec.json.encode(_State())
    seen = {name: rendered(entity, payload) for name, entity in told["components"].items() if _of(entity, TOPICS.state)}
    # "None" is documented to mean unknown
    assert seen == {"emotion": "None", "confidence": "None", "activation": "None", "speaking": "OFF"}


@pytest.mark.parametrize("uncertain", [False, True])
def test_what_is_made_of_an_event(uncertain, told):
    entity = told["components"]["speech"]
    heard = event(1, uncertain)
    seen = json.loads(rendered(entity, msgspec.json.encode(heard)))
    assert seen["event_type"] == ("uncertain" if uncertain else "happy")
    assert seen["event_type"] in entity["event_types"]
    assert seen.items() >= msgspec.to_builtins(heard).items()


@pytest.mark.parametrize("phase", list(Phase))
def test_what_is_made_of_health(phase, told):
    payload = msgspec.json.encode(health(phase))
    seen = {n: rendered(entity, payload) for n, entity in told["components"].items() if _of(entity, TOPICS.health)}
    assert seen == {"problem": "ON" if phase is Phase.FAULT else "OFF", "lost_sound": "0.1"}


@given(st.text(min_size=1), st.text(min_size=1))
def test_every_name_has_an_id_of_its_own(one, other):
    for node in (one, other):
        assert re.fullmatch("[a-zA-Z0-9_]+", unique_id(node))
    assert (unique_id(one) == unique_id(other)) == (one == other)


def test_the_dashboard_shows_what_there_is(told):
    page = (Path(__file__).parents[2] / "examples" / "home_assistant_dashboard.yaml").read_text(encoding="utf-8")
    # Home Assistant makes the names of entities of those of device and entity
    there = {
        f"{entity['platform']}.{told['device']['name']} {entity['name']}".lower().replace(" ", "_")
        for entity in told["components"].values()
    }
    asked = set(re.findall(r"\b[a-z_]+\.tonelight_kitchen_[a-z_]+", page))
    assert asked == there
    generic = {name.replace(".tonelight_kitchen", "") for name in there}
    for platform, name in re.findall(r"'([a-z_]+)\.' ~ id ~ '_([a-z_]+)'", page):
        assert f"{platform}_{name}" in generic


def _of(entity, topic: str) -> bool:
    return entity["state_topic"] == topic
