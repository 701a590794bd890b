"""Killed a hundred times while bundles are switched."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

from benchmarks.endurance.room import (
    N_CYCLES,
    PATIENCE_S,
    ROOT,
    SEED,
    say,
)
from edge.bundle import load_bundle
from edge.errors import BundleError
from edge.sources import SAMPLE_RATE_HZ
from edge.store import Store

PROCESSES: Final = multiprocessing.get_context("forkserver")


def change(store: Store, sources: list[Path], seed: int, told: Connection) -> None:
    """Install and activate for ever, and tell of every switch."""
    rng = random.Random(seed)
    while True:
        try:
            if rng.random() < 0.5:
                store.install(rng.choice(sources), allow_downgrade=True)
            else:
                store.activate(rng.choice(store.installed()), allow_downgrade=True)
        except BundleError as error:
            if "right now" not in str(error):  # the daemon counts its start at this moment
                raise
        else:
            told.send(store.active)


def listen(folder: Path, environ: Mapping[str, str]) -> None:
    """`tonelight run`, in a process that has loaded what it needs."""
    from edge.cli import main

    os.environ.update(environ)
    os.environ.pop("NOTIFY_SOCKET", None)
    errors = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 2)
    main(["run", "--config", str(folder / "etc" / "config.toml"), "--source", str(folder / "talk.wav")])


def switch(folder: Path, out: Path) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT / "tests" / "edge"))
    from signals import talk
    from signed import Maker

    rng = random.Random(SEED)
    maker = Maker(folder)
    store = Store(folder / "state" / "models", folder / "etc" / "keys")
    store.keys.mkdir(parents=True)
    shutil.copy(maker.public, store.keys)
    sources = [maker.make(f"1.{minor}.0") for minor in range(4)]
    store.install(sources[0])
    store.mark_good("test-1.0.0")
    (folder / "etc" / "config.toml").write_text('[leds]\nkind = "none"\n')
    soundfile.write(folder / "talk.wav", np.tile(talk(), 100), SAMPLE_RATE_HZ)
    environ = {
        "STATE_DIRECTORY": str(store.folder.parent),
        "CONFIGURATION_DIRECTORY": str(folder / "etc"),
        "RUNTIME_DIRECTORY": str(folder / "run"),
        "XDG_CONFIG_HOME": str(folder / "nothing"),
    }
    PROCESSES.set_forkserver_preload(["edge.commands.run", "ai_edge_litert.interpreter", "soundfile"])
    n_switched, n_listened, n_given_up = 0, 0, 0
    faults: list[str] = []
    ids = set()
    for cycle in range(N_CYCLES):
        (folder / "stderr").write_bytes(b"")
        told, child = PROCESSES.Pipe(duplex=False)
        daemon = PROCESSES.Process(target=listen, args=(folder, environ))
        daemon.start()
        if cycle % 2:
            n_listened += await_words(folder / "stderr", b"listening to", daemon)
        changer = PROCESSES.Process(target=change, args=(store, sources, cycle, child))
        changer.start()
        child.close()
        told.recv()
        n_switched += 1
        time.sleep(rng.uniform(0.0, 0.5))
        victims = [daemon, changer]
        rng.shuffle(victims)
        for process in victims:
            process.kill()
        for process in victims:
            process.join()
        while told.poll():
            try:
                told.recv()
                n_switched += 1
            except EOFError:
                break
        said = (folder / "stderr").read_bytes()
        n_given_up += b"did not get through" in said
        # the one complaint there may be: that a bundle was killed too often
        errors = [line for line in said.splitlines() if b"ERROR" in line and b"did not get through" not in line]
        if daemon.exitcode != -signal.SIGKILL or b"Traceback" in said or errors:
            faults.append(f"{cycle}: {said.decode(errors='replace')[-500:]}")
        try:
            store.verify(store.path(store.active))
            for name in store.installed():
                load_bundle(store.path(name))
        except BundleError as error:
            faults.append(f"{cycle}: {error}")
        ids.add(store.active)
        if cycle % 10 == 9:
            say(f"switch: {cycle + 1} of {N_CYCLES} kills, {n_switched} switches, {len(faults)} faults {faults[:1]}")
    return {
        "n_kills": N_CYCLES,
        "n_switched": n_switched,
        "n_listened": n_listened,
        "n_given_up": n_given_up,
        "n_bundles": len(ids),
        "faults": faults,
    }


def await_words(path: Path, words: bytes, process: multiprocessing.process.BaseProcess) -> bool:
    """Whether they came before the process ended."""
    end_s = time.monotonic() + PATIENCE_S
    while words not in path.read_bytes():
        if not process.is_alive() or time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True
