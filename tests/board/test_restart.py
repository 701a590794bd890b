"""A daemon that hangs or dies is back soon."""

from board_life import begin_to_listen, hear, restarts
from board_machine import Machine


def test_what_hangs_is_started_anew(board: Machine) -> None:
    begin_to_listen(board)
    before = restarts(board)
    board.run("kill -STOP $(systemctl show -P MainPID tonelight)")
    board.until(f"test $(systemctl show -P NRestarts tonelight) -gt {before}")
    assert "Watchdog timeout" in board.journal()
    begin_to_listen(board)
    assert len(hear(board, "kettle")) == 1


def test_what_is_killed_is_started_anew(board: Machine) -> None:
    begin_to_listen(board)
    before = restarts(board)
    board.run("kill -KILL $(systemctl show -P MainPID tonelight)")
    board.until(f"test $(systemctl show -P NRestarts tonelight) -gt {before}")
    begin_to_listen(board)
    assert len(hear(board, "kettle")) == 1
