"""A day of sound, a microphone that is pulled out a hundred times, and a hundred kills while bundles are switched.

    python -m benchmarks.endurance [day] [unplug] [microphone] [switch] [--out FOLDER]

Each part leaves its figures in FOLDER (build/endurance) and is not repeated while they are there; delete the file to
have it anew. docs/endurance.md is written from what is there, with the figures of benchmarks.fuzz.

    day         24 hours through the real daemon, as fast as it goes: log, page, MQTT, metrics and health file on;
                memory and descriptors after every minute of sound, events compared with those of a bare pipeline
    unplug      a source that fails 100 times in the middle of sound; every event compared
    microphone  100 times: a real stream of PortAudio and ALSA stalls, its device is gone, and is there again
    switch      100 times kill -9 of a real daemon and of whoever installs and activates bundles at that moment

The sound is that of the demo recording, louder and softer, in the noise of a room: a minute of sound holds 25 seconds
of speech at a moment of its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from benchmarks.endurance import document
from benchmarks.endurance.day import day
from benchmarks.endurance.microphone import microphone, unplug
from benchmarks.endurance.room import (
    ROOT,
    say,
)
from benchmarks.endurance.switch import switch

OUT: Final = ROOT / "build" / "endurance"
DOCUMENT: Final = ROOT / "docs" / "endurance.md"

PARTS: Final[Mapping[str, Callable[[Path, Path], dict[str, Any]]]] = {
    "day": day,
    "unplug": unplug,
    "microphone": microphone,
    "switch": switch,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="*", help=f"one of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for part in args.part or PARTS:
        result = args.out / f"{part}.json"
        if result.exists():
            say(f"{part}: done before, see {result}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[part](Path(folder), args.out)
        machine = f"{platform.machine()}, Python {platform.python_version()}"
        result.write_text(json.dumps({"date": f"{datetime.now(timezone.utc):%Y-%m-%d}", "machine": machine} | found))
        say(f"{part}: {found}")
    document.write(args.out, DOCUMENT)


if __name__ == "__main__":
    main()
