"""What the pipeline says: scores while somebody speaks, one detection for each finished stretch of speech."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UNCERTAIN = "uncertain"


@dataclass(frozen=True)
class Score:
    """The smoothed posterior in the middle of speech; one per model step. It drives the light, and is not logged.

    `time_s` counts from the first sample of the stream. `probs` maps each emotion to its share (sum 1). `label` is
    the emotion being shown, or None while no emotion has passed the enter threshold (`uncertain`). `activation` is the
    calibrated probability that the voice is stirred (`edge.labels.HIGH`) rather than quiet (`LOW`).
    """

    time_s: float
    probs: Mapping[str, float]
    label: str | None
    confidence: float
    activation: float


@dataclass(frozen=True)
class Detection:
    """One finished stretch of speech and what it was: the event of log, history, MQTT and page.

    `start_s` and `end_s` count from the first sample of the stream. `label` is always the likeliest emotion;
    `confidence` its calibrated probability; `uncertain` says that it is below the bundle's threshold and that no
    emotion should be shown for it. `activation` is the calibrated probability that the voice was stirred rather than
    quiet; it is an answer even where the emotion is uncertain.
    """

    start_s: float
    end_s: float
    label: str
    confidence: float
    probs: Mapping[str, float]
    uncertain: bool
    activation: float
