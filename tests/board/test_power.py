"""The power is cut, at moments that nobody chose: the board starts, listens, and has lost at most the last seconds."""

import random

import pytest
from board_life import active, begin_to_listen, events, hear, install, say
from board_machine import Machine
from signed import Maker


@pytest.mark.parametrize("seed", range(2))
def test_while_the_log_is_written(board: Machine, seed: int) -> None:
    begin_to_listen(board)
    say(board, "kettle")
    board.until("sleep 8")
    kept = events(board)
    say(board, "kettle")
    board.run(f"sleep {random.Random(seed).uniform(0, 8):.2f}")
    board.cut_power()
    board.start()
    begin_to_listen(board)
    assert events(board)[: len(kept)] == kept
    assert "damaged" not in board.journal()
    assert not board.does("ls /var/lib/tonelight | grep -q corrupt")


@pytest.mark.parametrize("seed", range(2))
def test_while_models_are_switched(board: Machine, maker: Maker, seed: int) -> None:
    begin_to_listen(board)
    before = active(board)
    install(board, maker, f"0.1.{seed}")
    new = active(board)
    switch = (
        f"tonelight model activate {before} --allow-downgrade; tonelight model install /root/bundle --allow-downgrade"
    )
    board.run(f"nohup sh -c 'while true; do {switch}; done' >/dev/null 2>&1 &")
    board.run(f"sleep {random.Random(seed).uniform(2, 6):.2f}")
    board.cut_power()
    board.start()
    begin_to_listen(board)
    assert active(board) in (before, new)
    for bundle in (before, new):
        board.run(f"tonelight model verify {bundle}")
    assert len(hear(board, "kettle")) == 1
