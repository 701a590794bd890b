"""Runs on the emulated board: a quiet room in which a phrase is said, heard by the loopback's other end.

What lies in /run/board/say (interleaved stereo, 16 bit, 44.1 kHz) is played once and removed; the rest of the time
there is only a little noise. The player is started anew when the sound card went away.
"""

import contextlib
import random
import subprocess
import time
from array import array
from pathlib import Path

RATE_HZ = 44100
BLOCK_BYTES = RATE_HZ // 50 * 4  # 20 ms
SAY = Path("/run/board/say")
PLAYER = ["aplay", "-q", "-t", "raw", "-f", "S16_LE", "-c", "2", "-r", str(RATE_HZ), "-B", "200000"]
CARD = ["-D", "plughw:CARD=Loopback,DEV=0", "-"]


def noise() -> list[bytes]:
    """Two seconds of white noise at about -60 dB."""
    chance = random.Random(1)
    blocks = []
    for _ in range(100):
        mono = [round(chance.gauss(0, 33)) for _ in range(BLOCK_BYTES // 4)]
        blocks.append(array("h", [sample for sample in mono for _ in range(2)]).tobytes())
    return blocks


def play(blocks: list[bytes]) -> None:
    """Until the player ends."""
    player = subprocess.Popen([*PLAYER, *CARD], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert player.stdin is not None
    with contextlib.suppress(BrokenPipeError), player.stdin as pipe:
        while True:
            for block in blocks:
                if SAY.exists():
                    pipe.write(SAY.read_bytes())
                    SAY.unlink()
                pipe.write(block)
    player.wait()


def main() -> None:
    blocks = noise()
    while True:
        play(blocks)
        time.sleep(0.5)


main()
