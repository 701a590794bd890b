"""The silence gate: which frames hold speech, cut into segments.

The gate looks at nothing but the level of each frame against a noise floor that follows the room: down at once, up
slowly. It opens when enough of the last frames stand `open_db` above the floor, reaches back for the frames before
(`pre_roll`), and closes when no frame has stood `close_db` above it for the length of the `hangover`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import Final

import msgspec


class GateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the gate, in physical units. They belong to the bundle: a model is trained on what its gate cuts."""

    open_db: float
    """A frame this far above the noise floor speaks for opening."""
    close_db: float
    """A frame this far above the noise floor keeps an open gate open; less than `open_db` (hysteresis)."""
    min_level_db: float
    """Never open below this level (dB relative to full scale), however quiet the room."""
    initial_floor_db: float
    """Where the noise floor starts at the most, so that a recording that begins with speech is heard at once."""
    rise_db_per_s: float
    """How fast the noise floor follows a room that gets louder."""
    onset_ms: float
    """Voiced time within the last `2 * onset_ms` that opens the gate; shorter sounds (a click) do not."""
    pre_roll_ms: float
    """How far before the onset a segment begins."""
    hangover_ms: float
    """Silence that ends a segment."""
    min_speech_ms: float
    """Segments with less voiced time than this are dropped."""
    max_segment_s: float
    """Longer segments are cut, so that the light keeps up with somebody who never pauses."""

    def check(self) -> None:
        """Raise ValueError, naming the setting, for settings that contradict each other."""
        if not 200 >= self.open_db > self.close_db > 0:
            raise ValueError(f"need 200 >= open_db > close_db > 0, got {self.open_db} and {self.close_db}")
        for name in ("min_level_db", "initial_floor_db"):
            if not -200 <= getattr(self, name) <= 0:
                raise ValueError(f"{name} must be -200 to 0, got {getattr(self, name)}")
        for name, most in (
            ("rise_db_per_s", 1000),
            ("onset_ms", 10_000),
            ("hangover_ms", 60_000),
            ("max_segment_s", 600),
        ):
            if not 0 < getattr(self, name) <= most:
                raise ValueError(f"{name} must be above 0 and at most {most}, got {getattr(self, name)}")
        for name in ("pre_roll_ms", "min_speech_ms"):
            if not 0 <= getattr(self, name) <= 10_000:
                raise ValueError(f"{name} must be 0 to 10000, got {getattr(self, name)}")


FALL: Final = 0.2
"""Share of the way that the noise floor goes down to a quieter frame in one frame: 10 ms frames settle in 100 ms."""


class Edge(Enum):
    OPEN = "open"
    CLOSE = "close"


class Gate:
    """Takes the level of one frame after the other and says where segments open and close.

    The state is a handful of numbers, and the answer depends on the levels alone, never on how they were grouped.
    """

    def __init__(self, config: GateConfig, hop_ms: float) -> None:
        config.check()
        self.config = config
        self._rise_db = config.rise_db_per_s * hop_ms / 1000
        self._onset = max(1, round(config.onset_ms / hop_ms))
        self._hangover = max(1, round(config.hangover_ms / hop_ms))
        self._max_frames = max(1, round(config.max_segment_s * 1000 / hop_ms))
        self.pre_roll = round(config.pre_roll_ms / hop_ms)
        """Frames that a segment reaches back before the first frame of its onset."""
        self.min_speech = round(config.min_speech_ms / hop_ms)
        """Voiced frames that a segment must hold to count."""
        self.reset()

    @property
    def look_back(self) -> int:
        """The most frames before the opening one that a segment may need: pre-roll and the onset itself."""
        return self.pre_roll + 2 * self._onset

    @property
    def n_without_edge(self) -> int:
        """Frames, whatever their levels, in which it neither opens nor closes for certain; the one after them may."""
        if self.is_open:
            return min(self._hangover - self.n_since_voiced, self._max_frames - self.n_frames) - 1
        return self._onset - sum(self._recent) - 1

    def reset(self) -> None:
        """Start as on a new stream: closed, noise floor unknown."""
        self.floor_db: float | None = None
        self.close()

    def close(self) -> None:
        """Close without an edge: the stream was interrupted. The noise floor stays."""
        self.is_open = False
        self.n_voiced = 0
        """Voiced frames of the open segment."""
        self.n_since_voiced = 0
        """Frames since the last voiced one of the open segment, that one not counted."""
        self.n_frames = 0
        """Frames since the gate opened."""
        self.n_before = 0
        """Frames that the segment reaches back before the one that opened the gate."""
        self._recent: deque[bool] = deque(maxlen=2 * self._onset)

    def push(self, levels_db: Iterable[float]) -> Iterable[Edge | None]:
        """For each level (dB relative to full scale) yield the edge that the frame makes, or None.

        A frame that yields `OPEN` belongs to the segment, and so do the `n_before` frames before it. A frame that
        yields `CLOSE` is the segment's last.
        """
        for level_db in levels_db:
            yield self._step(level_db)

    def _step(self, level_db: float) -> Edge | None:
        config = self.config
        if self.floor_db is None:
            self.floor_db = min(level_db, config.initial_floor_db)
        if level_db < self.floor_db:
            self.floor_db += FALL * (level_db - self.floor_db)
        else:
            self.floor_db = min(level_db, self.floor_db + self._rise_db)
        # a still lower floor would open nothing that `min_level_db` keeps shut, but the way back from where a moment of
        # digital silence left it would take long
        self.floor_db = max(self.floor_db, config.min_level_db - 2 * config.open_db)
        above_db = level_db - self.floor_db

        if not self.is_open:
            is_voiced = above_db >= config.open_db and level_db >= config.min_level_db
            self._recent.append(is_voiced)
            if not is_voiced or sum(self._recent) < self._onset:  # only a voiced frame can open it
                return None
            first = self._recent.index(True)
            self.is_open = True
            self.n_voiced = sum(self._recent)
            self.n_since_voiced = 0
            self.n_before = len(self._recent) - 1 - first + self.pre_roll
            self.n_frames = 1
            return Edge.OPEN

        self.n_frames += 1
        if above_db >= config.close_db and level_db >= config.min_level_db:
            self.n_voiced += 1
            self.n_since_voiced = 0
        else:
            self.n_since_voiced += 1
        if self.n_since_voiced >= self._hangover or self.n_frames >= self._max_frames:
            self.is_open = False
            self._recent.clear()
            return Edge.CLOSE
        return None
