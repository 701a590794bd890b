"""More than 100,000 inputs that are wrong, each taken or refused by one line: no crash, no hang, no traceback.

    python -m benchmarks.fuzz [TARGET...] [--seed N] [--share S] [--out FOLDER]

The inputs are made by tests/edge/fuzzing.py: each is a function of target, seed and number, so nothing has to be kept
to see one again. They are fed in a process of its own, which may die or hang: it is started anew behind the input that
did it. What has been done is kept in FOLDER (build/endurance) and not repeated, but for what was found: that is fed
once more first, to see whether it is mended. Findings lie there as files. `--share 0.1` feeds a tenth.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "edge"))

OUT: Final = ROOT / "build" / "endurance"
COUNTS: Final = {
    "config": 40_000,
    "manifest": 20_000,
    "recording": 16_000,
    "health": 10_000,
    "key": 10_000,
    "bundle": 2_000,
    "history": 1_000,
    "golden": 1_000,
    "sound": 1_000,
    "model": 1_000,
}
"""Inputs for each target, many where they cost little; together 102,000."""
HANG_S: Final = 60.0
"""An input that takes longer hangs, also on a busy machine."""
MEMORY: Final = 4 * 2**30
"""No more for the process that is fed, in bytes of addresses: what asks for more gets a MemoryError, and is found."""
SAVE_S: Final = 10.0

PROCESSES: Final = multiprocessing.get_context("forkserver")


def feed(name: str, seed: int, numbers: Sequence[int], progress: Any, findings: Any) -> None:
    """Feed these inputs. `progress`: how many are done, taken, refused; the most microseconds that one took."""
    import fuzzing

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # the runtime of the model talks a lot
    with tempfile.TemporaryDirectory() as folder:
        target = fuzzing.TARGETS[name](Path(folder) / name)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        for number in numbers:
            content = fuzzing.content_of(target, name, seed, number)
            began_s = time.process_time()
            try:
                progress[1 if fuzzing.is_taken(target, content) else 2] += 1
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                words = f"{type(error).__name__}: {str(error)[:300]} ({Path(where.filename).name}:{where.lineno})"
                findings.send((number, words, content))
            progress[3] = max(progress[3], int(1e6 * (time.process_time() - began_s)))
            progress[0] += 1


def run(name: str, seed: int, count: int, out: Path, state: dict[str, Any]) -> None:
    """Feed what was found before once more, then what has not been fed, and keep `state` up to date."""
    new = {"n": 0, "taken": 0, "refused": 0, "slowest_ms": 0, "findings": [], "mended": []}
    done = state["targets"].setdefault(name, new)
    if name != "model":
        found, done["findings"] = done["findings"], []
        done["n"] -= len(found)
        go_through(name, seed, [number for number, _ in found], out, state)
        still = {number for number, _ in done["findings"]}
        done["mended"] += [finding for finding in found if finding[0] not in still]
    go_through(name, seed, range(done["n"], count), out, state)
    print(f"{datetime.now():%H:%M:%S}  {name}: {summary(done)}", flush=True)


def go_through(name: str, seed: int, numbers: Sequence[int], out: Path, state: dict[str, Any]) -> None:
    """Feed these inputs, in as many processes as it takes."""
    done = state["targets"][name]
    while len(numbers):
        progress = PROCESSES.Array("q", 4, lock=False)
        findings, child = PROCESSES.Pipe(duplex=False)
        before = dict(done)
        process = PROCESSES.Process(target=feed, args=(name, seed, numbers, progress, child))
        process.start()
        child.close()
        seen, moved_s, saved_s = -1, time.monotonic(), time.monotonic()
        death, is_alive = "", True
        while is_alive:
            process.join(0.2)
            is_alive = process.is_alive()
            with contextlib.suppress(EOFError):
                while findings.poll():
                    number, words, content = findings.recv()
                    keep(name, seed, number, words, content, out, done)
            done["n"], done["taken"] = before["n"] + progress[0], before["taken"] + progress[1]
            done["refused"], done["slowest_ms"] = (
                before["refused"] + progress[2],
                max(before["slowest_ms"], progress[3] // 1000),
            )
            if progress[0] != seen:
                seen, moved_s = progress[0], time.monotonic()
            elif is_alive and time.monotonic() - moved_s > HANG_S:
                process.kill()
                death = f"hang: more than {HANG_S:g} s"
            if time.monotonic() - saved_s > SAVE_S:
                saved_s = time.monotonic()
                save(out, state)
                print(f"{datetime.now():%H:%M:%S}  {name}: {summary(done)}", flush=True)
        n_done = progress[0]
        if process.exitcode:
            code = process.exitcode
            death = death or (signal.Signals(-code).name if code < 0 else f"exit status {code}")
            keep(name, seed, numbers[n_done], death, again(name, seed, numbers[n_done]), out, done)
            n_done += 1
            done["n"] += 1
        numbers = numbers[n_done:]
        save(out, state)


def again(name: str, seed: int, number: int) -> bytes:
    """The input of that number."""
    import fuzzing

    with tempfile.TemporaryDirectory() as folder:
        return fuzzing.content_of(fuzzing.TARGETS[name](Path(folder) / name), name, seed, number)


def keep(name: str, seed: int, number: int, words: str, content: bytes, out: Path, done: dict[str, Any]) -> None:
    done["findings"].append([number, words])
    kept = out / "findings"
    kept.mkdir(exist_ok=True)
    if len(done["findings"]) <= 200:
        (kept / f"{name}-{seed}-{number}").write_bytes(content)
    if name != "model" or len(done["findings"]) < 10:
        print(f"FINDING  {name} {number}: {words}", flush=True)


def save(out: Path, state: dict[str, Any]) -> None:
    new = out / "fuzz.json.new"
    new.write_text(json.dumps(state, indent=1))
    new.replace(out / "fuzz.json")


def summary(done: dict[str, Any]) -> str:
    return (
        f"{done['n']} fed, {done['taken']} taken, {done['refused']} refused, {len(done['findings'])} findings, "
        f"{len(done['mended'])} mended, "
        f"slowest {done['slowest_ms']} ms"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="*", help=f"of {', '.join(COUNTS)} (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="another one gives other inputs")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of inputs")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures and findings")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    PROCESSES.set_forkserver_preload(["fuzzing", "edge.classifier"])
    try:
        state = json.loads((args.out / "fuzz.json").read_text())
    except FileNotFoundError:
        state = {}
    if state.setdefault("seed", args.seed) != args.seed:
        print(f"{args.out} holds the figures of seed {state['seed']}; choose another folder", file=sys.stderr)
        return 1
    state |= {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    state.setdefault("targets", {})
    for name in args.target or COUNTS:
        run(name, args.seed, round(args.share * COUNTS[name]), args.out, state)
    return int(any(done["findings"] for name, done in state["targets"].items() if name != "model"))


if __name__ == "__main__":
    sys.exit(main())
