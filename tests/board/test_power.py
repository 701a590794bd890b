"""The power is cut, at moments that nobody chose: the board starts, listens, and has lost at most the last seconds."""

import random

import pytest
from board_life import active, begin_to_listen, events, install, say
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


IDS = ("test-0.0.2", "tonelight-0.1.0")
SWITCH = f"""
nohup sh -c 'while true; do
  for id in {" ".join(IDS)}; do tonelight model activate $id --allow-downgrade; done
done' >/dev/null 2>&1 &
"""


@pytest.mark.parametrize("seed", range(2))
def test_while_another_model_is_chosen(board: Machine, maker: Maker, seed: int) -> None:
    begin_to_listen(board)
    if IDS[0] not in board.run("tonelight model list"):
        install(board, maker, "0.0.2")
    board.run(SWITCH)
    board.run(f"sleep {random.Random(seed).uniform(5, 15):.2f}")
    board.cut_power()
    board.start()
    begin_to_listen(board)
    assert active(board) in IDS
    for bundle in IDS:
        board.run(f"tonelight model verify {bundle}")
