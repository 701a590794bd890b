"""Models for a board: what is refused, and what is taken up."""

from pathlib import Path

from board_life import active, begin_to_listen, hear, install, listens, said_at_s
from board_machine import Machine
from signed import Maker

from edge.probation import N_STARTS


def refused(board: Machine, bundle: Path) -> str:
    """Bring the bundle to the board, try to install it, and return why not: one line, and nothing has changed."""
    board.put(bundle, "/root/bundle")
    before = active(board)
    said = board.run("tonelight model install /root/bundle && exit 9; test $? = 1")
    assert active(board) == before
    assert len(said.splitlines()) == 1, said
    return said


def test_refused(board: Machine, maker: Maker) -> None:
    begin_to_listen(board)
    assert "was not given" in refused(board, maker.make("0.0.2"))
    board.put(maker.public, "/etc/tonelight/keys/anna.pub")
    assert "is not signed" in refused(board, maker.make("0.0.2", signed=False))
    damaged = maker.make("0.0.2")
    model = bytearray((damaged / "model.tflite").read_bytes())
    model[len(model) // 2] ^= 1
    (damaged / "model.tflite").write_bytes(model)
    assert "model.tflite" in refused(board, damaged)
    assert active(board) == "tonelight-0.1.0"


def test_taken_up_and_no_older_one(board: Machine, maker: Maker) -> None:
    begin_to_listen(board)
    opened_s = said_at_s(board, "listening to")
    install(board, maker, "0.0.3")
    [heard] = hear(board, "kettle")
    assert heard["model"] == "test-0.0.3"
    assert said_at_s(board, "listening to") == opened_s  # the microphone stayed open
    assert "is older than test-0.0.3" in refused(board, maker.make("0.0.2"))
    board.until("sleep 10; journalctl -b -u tonelight | grep -q 'test-0.0.3 has got through its probation'")


def test_left_when_it_does_not_live(board: Machine, maker: Maker) -> None:
    """It is killed once; after that, systemd alone starts it again, each time later, and it ends by itself."""
    begin_to_listen(board)
    good = active(board)
    install(board, maker, "0.0.4")
    model = "/var/lib/tonelight/models/test-0.0.4/model.tflite"
    board.run(f"dd if=/dev/zero of={model} bs=1 seek=5000 count=64 conv=notrunc")  # as a worn-out card does
    board.run("rm -f /run/tonelight/failures; kill -KILL $(systemctl show -P MainPID tonelight)")
    board.until(listens(good))
    assert f"test-0.0.4 did not get through {N_STARTS} starts: back to {good}" in board.journal()
    tries_s = said_at_s(board, "test-0.0.4/model.tflite is damaged")
    assert len(tries_s) == N_STARTS - 1
    first_s, second_s, good_s = *tries_s, said_at_s(board, "listening to")[-1]
    assert good_s - second_s > second_s - first_s + 3
    assert active(board) == good
    [heard] = hear(board, "kettle")
    assert heard["model"] == good
    # what comes after looks at all bundles, and wants them whole
    board.run("rm -r /var/lib/tonelight/models/test-0.0.4")
