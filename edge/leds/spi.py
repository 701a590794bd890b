"""An SPI output, by Linux' spidev: three settings, then every write is a transfer. So little needs no library."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Final

from edge.errors import LightError

# From <linux/spi/spidev.h>: _IOW('k', number, size), the same on every board that Linux runs on here.
_SET_MODE: Final = 0x40016B01
_SET_BITS_PER_WORD: Final = 0x40016B03
_SET_MAX_SPEED_HZ: Final = 0x40046B04


class SpiDevice:
    """The device `path`, for instance "/dev/spidev0.0", in SPI mode 0 at `speed_hz` or the next speed below it."""

    def __init__(self, path: str, speed_hz: int) -> None:
        """Raises:
        LightError: there is no such device, it is none of SPI, or this user may not use it.
        """
        self._path = path
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            fcntl.ioctl(self._fd, _SET_MODE, struct.pack("B", 0))
            fcntl.ioctl(self._fd, _SET_BITS_PER_WORD, struct.pack("B", 8))
            fcntl.ioctl(self._fd, _SET_MAX_SPEED_HZ, struct.pack("I", speed_hz))
        except OSError as error:
            self.close()
            raise self._blame(error) from None

    def write(self, data: bytes) -> None:
        """Send `data` in one transfer.

        Raises:
            LightError: it could not be sent.
        """
        try:
            n_sent = os.write(self._fd, data)
        except OSError as error:
            raise self._blame(error) from None
        if n_sent != len(data):
            raise LightError(f"{self._path}: only {n_sent} of {len(data)} bytes were sent; leds.n_leds may be lower")

    def close(self) -> None:
        """Give the device back. Further calls do nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _blame(self, error: OSError) -> LightError:
        way_out = {
            errno.ENOENT: "switch SPI on: `sudo raspi-config nonint do_spi 0` on a Raspberry Pi, jetson-io on a Jetson",
            errno.EACCES: 'is this user in the group "spi"?',
            errno.ENOTTY: 'this is no SPI device; leds.device is one of "/dev/spidev*"',
            errno.EMSGSIZE: "the strip is too long for one transfer; set leds.n_leds lower",
        }.get(error.errno or 0, "is it still there?")
        return LightError(f"{self._path}: {error.strerror}; {way_out}")
