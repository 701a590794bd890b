"""Runs on the emulated board: an LED of the kernel's LED class, made by the kernel's own uleds.

Arguments: its name, and the file to write every change of its brightness to, as `<seconds since boot> <brightness>`.
"""

import struct
import sys
import time
from pathlib import Path


def main() -> None:
    name, written = sys.argv[1:]
    with Path("/dev/uleds").open("r+b", buffering=0) as led, Path(written).open("w", buffering=1) as out:
        led.write(struct.pack("64si", name.encode(), 255))
        while True:
            (brightness,) = struct.unpack("i", led.read(4))
            out.write(f"{time.clock_gettime(time.CLOCK_MONOTONIC):.3f} {brightness}\n")


main()
