"""What a daemon could have told its observers."""

from datetime import datetime, timezone

from edge.events import Detection, Score
from edge.history import Event
from edge.labels import EMOTIONS
from edge.observers import Health, Phase

PROBS = dict.fromkeys(EMOTIONS, 0.05) | {"happy": 0.65}


def event(number: int = 0, uncertain: bool = False) -> Event:
    detection = Detection(
        start_s=float(number),
        end_s=number + 0.8,
        label="happy",
        confidence=0.65,
        probs=PROBS,
        uncertain=uncertain,
        activation=0.9,
    )
    return Event.from_detection(
        detection,
        node="kitchen",
        model="tonelight-0.1.0",
        latency_ms=512.5,
        now=datetime(2026, 3, 1, 12, tzinfo=timezone.utc),
        mono_s=float(number),
    )


def score(label: str | None = "happy", confidence: float = 0.6) -> Score:
    return Score(time_s=1.0, probs=PROBS, label=label, confidence=confidence, activation=0.8)


def health(phase: Phase = Phase.LISTENING, **fields: object) -> Health:
    told = {
        "reason": "",
        "node": "kitchen",
        "model": "tonelight-0.1.0",
        "microphone": "USB microphone",
        "uptime_s": 12.5,
        "n_blocks": 600,
        "n_detections": 3,
        "n_gaps": 1,
        "n_lost": 1600,
    }
    return Health(phase=phase, **(told | fields))
