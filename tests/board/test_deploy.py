"""`tonelight-train deploy` to a board with its own sshd, sudo and systemd, by a user who did as docs/deploy.md says."""

import time

from board_desk import Desk, ended
from board_life import active, begin_to_listen, hear, lights, listens, uptime_s
from board_machine import Machine
from signed import Maker


def test_done(board: Machine, maker: Maker, desk: Desk) -> None:
    begin_to_listen(board)
    before = active(board)
    status, out, err = desk.deploy(maker.make("0.4.0"))
    assert (status, err) == (0, "kitchen: done\n"), out + err
    assert f"kitchen  done     {before}" in out and out.endswith("1 of 1 boards have test-0.4.0\n")
    assert active(board) == "test-0.4.0"
    began_s = uptime_s(board)
    [heard] = hear(board, "kettle")
    assert heard["model"] == "test-0.4.0"
    label = "uncertain" if heard["uncertain"] else heard["label"]
    assert label in {name for at_s, name, is_lit in lights(board) if is_lit and at_s >= began_s}


def test_rolled_back(board: Machine, maker: Maker, desk: Desk) -> None:
    begin_to_listen(board)
    before = active(board)
    deploying = desk.begin_to_deploy(maker.make("0.4.1"), steady_s=600.0)
    while not board.does(listens("test-0.4.1")) and deploying.poll() is None:
        time.sleep(0.5)
    n_looks = desk.n_looks()
    while desk.n_looks() < n_looks + 2 and deploying.poll() is None:
        time.sleep(0.1)
    # as if it died with the bundle, after it was seen to listen
    board.run("kill -KILL $(systemctl show -P MainPID tonelight)")
    status, out, err = ended(deploying)
    why = (
        f"tonelight ended with test-0.4.1 and was started again; {before} listens again; there: journalctl -u tonelight"
    )
    assert (status, err) == (1, f"kitchen: rolled back: {why}\n"), out + err
    assert f"kitchen  rolled back  {before}  {before}" in out
    assert "0 of 1 boards have test-0.4.1; mend what failed and deploy again" in out
    assert active(board) == before
    begin_to_listen(board, before)
    [heard] = hear(board, "kettle")
    assert heard["model"] == before
