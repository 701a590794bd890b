"""A daemon that hangs or dies is back soon."""

from board_life import begin_to_listen, hear, kill, restarts, said_at_s, uptime_s
from board_machine import Machine


def test_what_hangs_is_started_anew(board: Machine, figures: dict[str, float]) -> None:
    begin_to_listen(board)
    before, began_s = restarts(board), uptime_s(board)
    board.run("kill -STOP $(systemctl show -P MainPID tonelight)")
    board.until(f"test $(systemctl show -P NRestarts tonelight) -gt {before}")
    assert "Watchdog timeout" in board.journal()
    begin_to_listen(board)
    figures["hung to listening again, s"] = said_at_s(board, "listening to")[-1] - began_s
    assert len(hear(board, "kettle")) == 1


def test_what_is_killed_is_started_anew(board: Machine, figures: dict[str, float]) -> None:
    begin_to_listen(board)
    began_s = uptime_s(board)
    kill(board)
    figures["killed to listening again, s"] = said_at_s(board, "listening to")[-1] - began_s
    assert len(hear(board, "kettle")) == 1
