"""Runs on the emulated board: does what the test asks for on a line of its own, and answers with what came of it."""

import json
import subprocess
import time
from pathlib import Path


def main() -> None:
    with Path("/dev/virtio-ports/board").open("r+b", buffering=0) as port:
        pending = b""
        while True:
            if not (got := port.read(65536)):
                time.sleep(0.1)  # nobody is there yet
                continue
            pending += got
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                done = subprocess.run(
                    ["bash", "-c", json.loads(line)["script"]],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                )
                answer = {"rc": done.returncode, "out": done.stdout.decode(errors="replace")}
                rest = memoryview(json.dumps(answer).encode() + b"\n")
                while rest:
                    rest = rest[port.write(rest) :]


main()
