"""Runs on the emulated board: does what the test asks for on a line of its own, and answers with what came of it.

It is a script, and what that is given as its input.

A port of the board's own is there as soon as the board is; a serial line (its device is the argument) is heard from now
on only, so there it says first that it listens.
"""

import json
import subprocess
import sys
import time
import tty
from pathlib import Path


def main() -> None:
    with Path([*sys.argv, "/dev/virtio-ports/board"][1]).open("r+b", buffering=0) as port:
        if port.isatty():
            tty.setraw(port)
            port.write(b"ready\n")
        pending = b""
        while True:
            if not (got := port.read(65536)):
                time.sleep(0.1)  # nobody is there yet
                continue
            pending += got
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                asked = json.loads(line)
                done = subprocess.run(
                    ["bash", "-c", asked["script"]],
                    input=asked["given"].encode(),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                )
                answer = {"rc": done.returncode, "out": done.stdout.decode(errors="replace")}
                rest = memoryview(json.dumps(answer).encode() + b"\n")
                while rest:
                    rest = rest[port.write(rest) :]


main()
