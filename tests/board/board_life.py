"""What tests do with a board: wait until it listens, say something, look at its lights and into its log."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from board_image import GUEST, phrases
from board_machine import Machine
from signed import Maker

from edge.bundle import DEFAULT_BUNDLE, default_bundle_path, load_bundle
from edge.events import Detection
from edge.pipeline import Pipeline
from edge.store import ACTIVE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LINES = {line: name for name, line in tomllib.loads((GUEST / "config.toml").read_text())["leds"]["pins"].items()}
CAPTURED = "/proc/asound/Loopback/pcm1c/sub0/status"
"""What the kernel says of the microphone; "closed" where nobody has it open."""
LISTENS = 'grep -q \'"phase":"listening".*"n_blocks":[1-9]\' /run/tonelight/health.json'


def listens(bundle: str = "") -> str:
    """Script: whether the daemon that runs now has taken sound, and, where `bundle` is given, listens with that."""
    runs = 'grep -q "\\"pid\\":$(systemctl show -P MainPID tonelight)," /run/tonelight/health.json'
    return f'{LISTENS} && {runs} && grep -q \'"model":"{bundle}\' /run/tonelight/health.json'


def begin_to_listen(board: Machine, bundle: str = "") -> None:
    """Wait for it."""
    board.until(listens(bundle))


def restarts(board: Machine) -> int:
    """How often systemd has started the service anew since the boot."""
    return int(board.run("systemctl show -P NRestarts tonelight"))


def kill(board: Machine) -> None:
    """Kill the daemon, and wait until another one listens."""
    before = restarts(board)
    board.run("kill -KILL $(systemctl show -P MainPID tonelight)")
    board.until(f"test $(systemctl show -P NRestarts tonelight) -gt {before}")
    begin_to_listen(board)


def events(board: Machine, ask: str = "tonelight history --json") -> list[dict[str, Any]]:
    """What is in the log, oldest first."""
    return [json.loads(line) for line in board.run(ask).splitlines()]


def n_events(board: Machine) -> int:
    """How many are in the log."""
    # not by asking `tonelight`, which takes an emulated board seconds
    opened = "import sqlite3; log = sqlite3.connect('file:history.db?mode=ro', uri=True)"
    code = f"{opened}; print(log.execute('SELECT count(*) FROM events').fetchone()[0])"
    return int(board.run(f'cd /var/lib/tonelight; if test -e history.db; then python3 -c "{code}"; else echo 0; fi'))


def say(board: Machine, phrase: str) -> None:
    """Say it once, and wait until it has been said."""
    board.run(f"cp /board/phrases/{phrase}.raw /run/board/new && mv /run/board/new /run/board/say")
    board.until("! test -e /run/board/say")


def hear(board: Machine, phrase: str) -> list[dict[str, Any]]:
    """Say it once, and wait for what the log gets of it."""
    before = n_events(board)
    board.run("touch /run/board/asked")
    say(board, phrase)
    # asking takes an emulated board seconds: only when there is something new
    written = "test /var/lib/tonelight/history.db-wal -nt /run/board/asked && touch /run/board/asked"
    asked = "tonelight history --json >/run/board/history"
    board.until(f"{written} && {asked} && test $(wc -l </run/board/history) -gt {before}")
    return events(board, "cat /run/board/history")[before:]


def expected(*names: str) -> list[Detection]:
    """What the same pipeline makes of the phrases, one after the other, on this machine."""
    return detections(*(phrases()[name] for name in names))


def detections(*said: np.ndarray) -> list[Detection]:
    """What the same pipeline makes of sound, mono at 16 kHz, on this machine."""
    pipeline = Pipeline(load_bundle(default_bundle_path()))
    events = [event for samples in said for event in pipeline.push(samples)] + pipeline.flush()
    return [event for event in events if isinstance(event, Detection)]


def lights(
    board: Machine, written: str = "/run/board/lines", names: Mapping[int, str] = LINES
) -> list[tuple[float, str, bool]]:
    """Every change of the lights since the boot: seconds since then, whose light, and whether it is lit now."""
    changes = [line.split() for line in board.run(f"cat {written}").splitlines()]
    return [(float(at), names[int(line)], value == "1") for at, line, value in changes]


def uptime_s(board: Machine) -> float:
    """Seconds since the board's kernel began."""
    return float(board.run("cut -d' ' -f1 /proc/uptime"))


def said_at_s(board: Machine, words: str) -> list[float]:
    """When the service said `words` in this boot, in seconds since the boot."""
    lines = [line for line in board.journal(n_lines=2000).splitlines() if words in line]
    return [float(re.findall(r"\[\s*([\d.]+)\]", line)[0]) for line in lines]


def said_since(board: Machine, at_s: float) -> str:
    """What the service has said from `at_s` on, in seconds since the boot."""
    lines = board.journal(n_lines=2000).splitlines()
    stamps = [re.match(r"\[\s*([\d.]+)\]", line) for line in lines]
    return "\n".join(line for line, at in zip(lines, stamps, strict=True) if at and float(at[1]) >= at_s)


def active(board: Machine) -> str:
    """The id of the bundle that is to listen."""
    link = Path("/var/lib/tonelight/models") / ACTIVE
    return board.run(f"readlink {link} || echo {DEFAULT_BUNDLE}").strip()


def install(board: Machine, maker: Maker, version: str) -> None:
    """Bring a bundle whose maker the board trusts, and wait until the daemon listens with it."""
    bundle = maker.make(version)
    board.put(maker.public, "/etc/tonelight/keys/anna.pub")
    board.put(bundle, "/root/bundle")
    board.run("tonelight model install /root/bundle --allow-downgrade && systemctl reload tonelight")
    board.until(f"journalctl -b -u tonelight | grep -q 'reloaded: {bundle.name} listens'")
    begin_to_listen(board)
