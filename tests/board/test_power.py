"""The power is cut, at moments that nobody chose: the board starts, listens, and has lost at most the last seconds."""

import random

import pytest
from board_life import begin_to_listen, events, say
from board_machine import Machine


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
