"""How Home Assistant is told of a board: one retained message that describes the device and all its entities.

The form is that of MQTT device discovery (Home Assistant 2024.11 and later), with full names in place of
abbreviations: nothing here is short of room.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from edge import __version__
from edge.events import UNCERTAIN
from edge.labels import EMOTIONS
from edge.observers import Phase

ONLINE: Final = "online"
OFFLINE: Final = "offline"


@dataclass(frozen=True)
class Topics:
    """Where a board tells what."""

    event: str
    state: str
    health: str
    mute: str
    mute_set: str
    availability: str


def discovery(prefix: str, topics: Topics, node: str, model: str) -> tuple[str, bytes]:
    """The topic below `prefix` and the JSON that make the board `node`, running bundle `model`, known."""
    device_id = unique_id(node)
    entities = {name: {"unique_id": f"{device_id}_{name}", **entity} for name, entity in _entities(topics).items()}
    payload = {
        "device": {
            "identifiers": [device_id],
            "name": f"tonelight {node}",
            "manufacturer": "tonelight",
            "model": "light for the tone of a voice",
            "sw_version": f"{__version__}, model {model}",
        },
        "origin": {"name": "tonelight", "sw_version": __version__},
        "availability_topic": topics.availability,
        "payload_available": ONLINE,
        "payload_not_available": OFFLINE,
        "qos": 1,
        "components": entities,
    }
    return f"{prefix}/device/{device_id}/config", msgspec.json.encode(payload)


def unique_id(node: str) -> str:
    """A name for `node` of letters, digits and underscores, as a discovery topic needs it, unlike that of any other."""
    plain = re.sub(r"[^a-zA-Z0-9_]", "_", node)
    # "a b" and "a-b" look the same when written plainly
    return f"tonelight_{plain}" if plain == node else f"tonelight_{plain}_{zlib.crc32(node.encode()):08x}"


def _entities(topics: Topics) -> dict[str, dict[str, Any]]:
    emotions = [*EMOTIONS, UNCERTAIN]
    return {
        "emotion": {
            "platform": "sensor",
            "name": "Emotion",
            "icon": "mdi:emoticon-outline",
            "state_topic": topics.state,
            "device_class": "enum",
            "options": emotions,
            "value_template": "{{ value_json.emotion }}",
        },
        "confidence": _share("Confidence", "confidence", "mdi:check-circle-outline", topics),
        "activation": _share("Activation", "activation", "mdi:waveform", topics),
        "speaking": {
            "platform": "binary_sensor",
            "name": "Speaking",
            "state_topic": topics.state,
            "device_class": "sound",
            "value_template": "{{ 'ON' if value_json.speaking else 'OFF' }}",
        },
        "speech": {
            "platform": "event",
            "name": "Speech",
            "icon": "mdi:account-voice",
            "state_topic": topics.event,
            "event_types": emotions,
            "value_template": (
                "{{ dict(value_json, event_type='uncertain' if value_json.uncertain else value_json.label) | to_json }}"
            ),
        },
        "mute": {
            "platform": "switch",
            "name": "Mute",
            "icon": "mdi:microphone-off",
            "state_topic": topics.mute,
            "command_topic": topics.mute_set,
        },
        "problem": {
            "platform": "binary_sensor",
            "name": "Problem",
            "state_topic": topics.health,
            "device_class": "problem",
            "entity_category": "diagnostic",
            "value_template": f"{{{{ 'ON' if value_json.phase == '{Phase.FAULT.value}' else 'OFF' }}}}",
            "json_attributes_topic": topics.health,
        },
        "lost_sound": {
            "platform": "sensor",
            "name": "Lost sound",
            "state_topic": topics.health,
            "device_class": "duration",
            "unit_of_measurement": "s",
            "state_class": "total_increasing",
            "suggested_display_precision": 1,
            "entity_category": "diagnostic",
            "value_template": "{{ value_json.n_lost / 16000 }}",
        },
    }


def _share(name: str, field: str, icon: str, topics: Topics) -> dict[str, Any]:
    """A share of 1, shown in per cent; "None" is what Home Assistant takes for unknown."""
    return {
        "platform": "sensor",
        "name": name,
        "icon": icon,
        "state_topic": topics.state,
        "unit_of_measurement": "%",
        "state_class": "measurement",
        "suggested_display_precision": 0,
        "value_template": f"{{{{ value_json.{field} if value_json.{field} is none else 100 * value_json.{field} }}}}",
    }
