"""Runs on the emulated board: writes down every change of its GPIO lines, as `<seconds since boot> <line> <0 or 1>`.

Arguments, for a chip that is not soldered on: its device, and the file to write to.
"""

import os
import re
import sys
import time
from pathlib import Path

ON_BOARD = ["/sys/devices/platform/gpio-sim.0", "/run/board/lines"]


def main() -> None:
    device, written = sys.argv[1:] or ON_BOARD
    paths = Path(device).glob("gpiochip*/sim_gpio*/value")
    files = {int(re.findall(r"sim_gpio(\d+)", str(path))[0]): os.open(path, os.O_RDONLY) for path in paths}
    lit = dict.fromkeys(files, "0")
    with Path(written).open("w", buffering=1) as out:
        while True:
            now_s = time.clock_gettime(time.CLOCK_MONOTONIC)
            for line, file in files.items():
                if (value := os.pread(file, 1, 0).decode()) != lit[line]:
                    lit[line] = value
                    out.write(f"{now_s:.3f} {line} {value}\n")
            time.sleep(0.05)


main()
