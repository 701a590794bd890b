"""Runs on the emulated board: switches its bundles to and fro until the power goes.

The folders of signed bundles are given. More of them than a board keeps, so that each is installed anew, and old ones
are removed. /run/board/switched has a line for each time that the service was told.
"""

import itertools
import subprocess
import sys
from pathlib import Path

from edge.errors import BundleError
from edge.store import Store


def main() -> None:
    store = Store()
    for bundle in sys.argv[1:]:
        store.install(Path(bundle), allow_downgrade=True)
    with Path("/run/board/switched").open("w", buffering=1) as told:
        for bundle in itertools.cycle(map(Path, sys.argv[1:])):
            for switch in (lambda path=bundle: store.install(path, allow_downgrade=True), store.rollback):
                try:
                    switch()
                except BundleError as error:
                    # the service notes something about the bundles just then
                    if "right now" not in str(error):
                        raise
                subprocess.run(["systemctl", "reload", "tonelight"], check=True)
                told.write("\n")


main()
