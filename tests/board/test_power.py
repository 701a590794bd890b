"""The power is cut, at moments that nobody chose: the board starts, listens, and has lost at most the last seconds.

Starting a board takes long. So its disk is copied at some of these moments, which is what a cut leaves of it; the power
is really cut once, and the board that starts then looks at its own disk and at the copies.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from board_desk import Desk, ended
from board_life import active, begin_to_listen, events, hear, say
from board_machine import Machine
from signed import Maker

from edge.bundle import GOLDEN, MODEL

HERE = Path(__file__).parent
N_WRITING, N_SWITCHING = 2, 3
VERSIONS = [f"0.2.{n}" for n in range(8)]
MODELS = "/var/lib/tonelight/models"
PYTHON = "/opt/tonelight/bin/python"


@dataclass(frozen=True)
class Left:
    """What was on the disk long before the cuts, and what was found on the copies afterwards."""

    kept: list[dict[str, Any]]
    while_writing: list[dict[str, Any]]
    while_switching: list[dict[str, Any]]
    known: set[str | None]
    """Every bundle that may be active."""


@pytest.fixture(scope="module")
def left(board: Machine, maker: Maker, folder: Path) -> Iterator[Left]:
    moment = random.Random(0)
    copies = [folder / f"copy-{n}" for n in range(N_WRITING + N_SWITCHING)]
    begin_to_listen(board)
    say(board, "kettle")
    board.until("sleep 8")
    kept = events(board)
    say(board, "kettle")
    for copy in copies[:N_WRITING]:
        board.run(f"sleep {moment.uniform(0, 4):.2f}")
        board.copy_disk(copy)
    known = {None, active(board), *(f"test-{version}" for version in VERSIONS)}
    begin_to_switch(board, maker, folder / "bundles")
    board.until("test -s /run/board/switched")
    for copy in copies[N_WRITING:]:
        board.run(f"sleep {moment.uniform(0, 1.5):.2f}")
        board.copy_disk(copy)
    assert int(board.run("wc -l </run/board/switched")) > 1, board.run("cat /run/board/switch.log")
    board.cut_power()
    board.start(*copies)
    begin_to_listen(board)
    board.put(HERE / "board_disks.py", "/board/disks.py")
    disks = [f"/dev/vd{letter}" for letter in "bcdefghijkl"[: len(copies)]]
    found = board.run(f"{PYTHON} /board/disks.py /root/bundles/test-{VERSIONS[-1]} {' '.join(disks)}")
    looks = [json.loads(line) for line in found.splitlines()]
    yield Left(kept, looks[:N_WRITING], looks[N_WRITING:], known)
    for copy in copies:
        copy.unlink()


def begin_to_switch(board: Machine, maker: Maker, bundles: Path) -> None:
    bundles.mkdir()
    made = [maker.make(version).rename(bundles / f"test-{version}") for version in VERSIONS]
    for bundle in made[1:]:
        for name in (MODEL, GOLDEN):  # the same in all of them: sent once
            (bundle / name).unlink()
            os.link(made[0] / name, bundle / name)
    board.put(maker.public, "/etc/tonelight/keys/anna.pub")
    board.put(bundles, "/root/bundles")
    board.put(HERE / "board_switch.py", "/board/switch.py")
    board.run("sync")
    board.run(f"{PYTHON} /board/switch.py /root/bundles/* >/run/board/switch.log 2>&1 &")


def test_while_the_log_is_written(board: Machine, left: Left) -> None:
    for look in [*left.while_writing, *left.while_switching]:
        assert look["log"] == "ok"
        assert look["events"][: len(left.kept)] == left.kept
    assert events(board)[: len(left.kept)] == left.kept
    assert "damaged" not in board.journal()
    assert not board.does("ls /var/lib/tonelight | grep -q corrupt")


def test_while_bundles_are_switched(board: Machine, left: Left) -> None:
    for look in left.while_switching:
        assert look["active"] in left.known
        assert look["then"] == f"test-{VERSIONS[-1]}"
        assert look["left_behind"] == []
    listening = active(board)
    assert listening in left.known
    listed = json.loads(board.run("tonelight model list --json"))
    assert [bundle["faults"] for bundle in listed["bundles"] if bundle["faults"]] == []
    board.run(f"tonelight model verify {listening}")
    [heard] = hear(board, "kettle")
    assert heard["model"] == listening
    board.run(f"tonelight model install /root/bundles/test-{VERSIONS[-1]} --allow-downgrade")
    assert active(board) == f"test-{VERSIONS[-1]}"
    assert not board.does(f"ls -d {MODELS}/.*-*")


def test_while_a_bundle_is_deployed(board: Machine, maker: Maker, desk: Desk) -> None:
    begin_to_listen(board)
    before = active(board)
    bundle = maker.make("0.3.0")
    deploying = desk.begin_to_deploy(bundle)
    arrives = f"timeout 60 bash -c \"until compgen -G '{MODELS}/.incoming-*'; do sleep 0.01; done\""
    while not board.does(arrives) and deploying.poll() is None:
        pass
    board.run(f"sleep {random.Random(1).uniform(0, 1):.2f}")
    board.cut_power()
    status, out, err = ended(deploying)
    assert status == 1, out + err
    # in the middle of a command, or between two of them
    assert err.startswith(("kitchen: failed: the connection is gone (", "kitchen: failed: it cannot be reached (")), err
    assert err.endswith("; deploy again to go on\n") and err.count("\n") == 1
    assert "0 of 1 boards have test-0.3.0; mend what failed and deploy again" in out
    board.start()
    begin_to_listen(board)
    assert active(board) in (before, "test-0.3.0")
    assert not board.does("ls -d /tmp/tonelight-deploy.*")
    status, out, err = desk.deploy(bundle)
    assert status == 0, out + err
    assert active(board) == "test-0.3.0"
    [heard] = hear(board, "kettle")
    assert heard["model"] == "test-0.3.0"
