"""Runs on the emulated board: what there is of log and bundles on other disks, whose board had its power cut.

A bundle that is installed on each of them, and the disks are given. Prints a line of JSON for each.
"""

import io
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from edge.bundle import load_bundle
from edge.history import read_events, write_json_lines
from edge.store import Store


def look(state: Path, bundle: Path) -> dict[str, object]:
    with closing(sqlite3.connect(state / "history.db")) as log:
        [[integrity]] = log.execute("PRAGMA integrity_check").fetchall()
    lines = io.StringIO()
    write_json_lines(read_events(state / "history.db"), lines)
    store = Store(state / "models")
    active, n_starts = store.active, store.starts
    for name in {active, store.previous, store.good}:
        store.verify(store.path(name))
    for name in store.installed():
        load_bundle(store.path(name))
    store.install(bundle, allow_downgrade=True)
    return {
        "log": integrity,
        "events": [json.loads(line) for line in lines.getvalue().splitlines()],
        "active": active,
        "n_starts": n_starts,
        "then": store.active,
        "left_behind": [path.name for path in store.folder.glob(".*-*")],
    }


def main() -> None:
    bundle, *disks = sys.argv[1:]
    for disk in disks:
        subprocess.run(["mount", disk, "/mnt"], check=True)
        try:
            print(json.dumps(look(Path("/mnt/var/lib/tonelight"), Path(bundle))))
        finally:
            subprocess.run(["umount", "/mnt"], check=True)


main()
