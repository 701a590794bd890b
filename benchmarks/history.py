"""What the log writes to the card in a day.

    python benchmarks/history.py

A real log, with a clock that is moved from one stretch of speech to the next: conversations of a few minutes, all over
16 hours, and a room that is quiet in between. Counted is what the process hands to the system (`wchar` of
/proc/self/io), which `fsync` sends on to the card, and how often it does. What a card makes of it within itself, and
the journal of its file system, come on top.
"""

from __future__ import annotations

import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import numpy as np

from edge.events import Detection
from edge.history import Event, History
from edge.labels import EMOTIONS

SPEECH_MINUTES: Final = (5, 60, 240)
STRETCH_S: Final = 2.5
PAUSE_S: Final = 1.5
CONVERSATION_S: Final = 300.0
DAY_S: Final = 16 * 3600.0


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def detection(rng: np.random.Generator, start_s: float) -> Detection:
    """A stretch of speech with figures as long as real ones."""
    shares = rng.dirichlet(np.ones(len(EMOTIONS)))
    probs = {name: float(share) for name, share in zip(EMOTIONS, shares, strict=True)}
    label = max(probs, key=lambda name: probs[name])
    return Detection(start_s, start_s + STRETCH_S, label, probs[label], probs, False, float(rng.random()))


def moments_s(speech_s: float) -> np.ndarray:
    """When stretches end, for so much speech in a day: conversations with the same quiet before each."""
    n_stretches = round(speech_s / STRETCH_S)
    per_conversation = round(CONVERSATION_S / (STRETCH_S + PAUSE_S))
    n_conversations = -(-n_stretches // per_conversation)
    i = np.arange(n_stretches)
    return i // per_conversation * (DAY_S / n_conversations) + i % per_conversation * (STRETCH_S + PAUSE_S)


def written() -> tuple[int, int]:
    """Bytes and calls that this process has written with so far."""
    facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(facts["wchar"]), int(facts["syscw"])


def day(folder: Path, speech_s: float) -> tuple[int, int, int, int]:
    """A day in a log that has had one before: stretches, bytes and calls written, bytes of the log's growth."""
    rng, clock = np.random.default_rng(0), Clock()
    path = folder / "history.db"
    for number in range(2):
        log = History(path, max_mb=64, max_days=365, clock=clock)
        log.flush()
        n_before, before = path.stat().st_size, written()
        moments = moments_s(speech_s)
        for moment_s in moments:
            clock.now_s = number * 86_400.0 + float(moment_s)
            log.tick()
            event = Event.from_detection(
                detection(rng, clock.now_s),
                node="kitchen",
                model="tonelight-0.1.0",
                latency_ms=round(float(rng.uniform(300, 700)), 1),
                now=datetime.now(timezone.utc),
                mono_s=clock.now_s,
            )
            log.write(event)
        log.close()
        n_bytes, n_calls = (b - a for a, b in zip(before, written(), strict=True))
    return len(moments), n_bytes, n_calls, path.stat().st_size - n_before


def main() -> None:
    print("| speech in a day | stretches | written | in calls | the log grows by |")
    print("| --- | --- | --- | --- | --- |")
    for minutes in SPEECH_MINUTES:
        with tempfile.TemporaryDirectory() as folder:
            n_stretches, n_bytes, n_calls, n_grown = day(Path(folder), 60.0 * minutes)
        print(f"| {minutes} min | {n_stretches} | {n_bytes / 1e6:.1f} MB | {n_calls} | {n_grown / 1e6:.2f} MB |")


if __name__ == "__main__":
    main()
