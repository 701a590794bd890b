"""Strips on SPI: what goes over the wire, bit for bit as the datasheets want it, and the device it goes through.

No machine that runs tests has an SPI output. The device is a real file that takes every byte; only the kernel's three
settings of an SPI device, which no file has, are answered and recorded here. So what is not tested is the electricity.
"""

# ruff: noqa: F401, F811 (a fixture is used by its name)
import fcntl
import os
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
from emulated_pins import gpio
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import LightError
from edge.leds import LedSettings, Look, open_backend
from edge.leds.base import BLACK, WHITE, light_of
from edge.leds.spi import SpiDevice
from edge.leds.strips import MAX_LEDS, NEOPIXEL_HZ, Strip, apa102_bytes, neopixel_bytes

RED = (1.0, 0.0, 0.0)
colours = st.tuples(*[st.floats(0, 1)] * 3)


def look(rgb) -> Look:
    return Look("sad", 1.0, 1.0, rgb)


# --- APA102


def test_one_red_apa102_by_eye():
    # start, 111 and full current, blue, green, red, then 32 clocks for the SK9822 and 8 for half of one LED
    assert apa102_bytes(RED, 1).hex(" ") == "00 00 00 00 ff 00 00 ff 00 00 00 00 00"


def test_three_on_the_small_hat_in_three_colours():
    assert apa102_bytes((0.0, 1.0, 0.0), 3) == bytes(4) + bytes((0xFF, 0, 255, 0)) * 3 + bytes(5)
    assert apa102_bytes((0.0, 0.0, 1.0), 3) == bytes(4) + bytes((0xFF, 255, 0, 0)) * 3 + bytes(5)
    assert apa102_bytes(BLACK, 3) == bytes(4) + bytes((0xE1, 0, 0, 0)) * 3 + bytes(5)


def read_apa102(data: bytes, n_leds: int) -> list[np.ndarray]:
    """What a strip shows: the shares of full light (red, green, blue) of each LED."""
    assert data[:4] == bytes(4)
    leds, end = data[4 : 4 + 4 * n_leds], data[4 + 4 * n_leds :]
    assert all(leds[i] >> 5 == 0b111 for i in range(0, len(leds), 4))
    # 32 zeros for the SK9822, then half a clock for each LED; ones would light the next LED of a longer strip
    assert set(end) == {0} and 8 * len(end) >= 32 + n_leds / 2
    return [
        np.array([red, green, blue]) / 255 * (head & 31) / 31
        for head, blue, green, red in zip(leds[::4], leds[1::4], leds[2::4], leds[3::4], strict=True)
    ]


@given(colours, st.integers(1, MAX_LEDS))
def test_every_apa102_shows_the_colour(rgb, n_leds):
    shown = read_apa102(apa102_bytes(rgb, n_leds), n_leds)
    assert len(shown) == n_leds
    for light in shown:
        wanted = np.array(light_of(rgb))
        assert np.abs(light - wanted).max() <= max(1 / 255 / 31, wanted.max() / 255)
        assert light.any() == any(rgb)  # however dim


# --- NeoPixel


def read_neopixel(data: bytes, n_leds: int) -> list[tuple[int, int, int]]:
    """What a WS2812B makes of the wire: high for long is a one, for short a zero, low for 280 us shows it."""
    wire = np.unpackbits(np.frombuffer(data, np.uint8))
    us = 1e6 / NEOPIXEL_HZ
    edges = np.flatnonzero(np.diff(np.concatenate(([0], wire, [0]))))
    highs = (edges[1::2] - edges[::2]) * us
    gaps = (edges[2::2] - edges[1:-1:2]) * us
    assert edges[0] * us > 280 and (len(wire) - edges[-1]) * us > 280
    is_one = highs > 0.5
    # WS2812B: T0H 0.4, T1H 0.8, T0L 0.85, T1L 0.45, each +-0.15 us
    assert np.all(np.abs(highs - np.where(is_one, 0.8, 0.4)) <= 0.15)
    assert np.all(np.abs(gaps - np.where(is_one[:-1], 0.45, 0.85)) <= 0.15)
    # SK6812: T0H 0.3, T1H 0.6, T0L 0.9, T1L 0.6, each +-0.15 us (and the width of a rounding)
    assert np.all(np.abs(highs - np.where(is_one, 0.6, 0.3)) <= 0.1501)
    assert np.all(np.abs(gaps - np.where(is_one[:-1], 0.6, 0.9)) <= 0.1501)
    green, red, blue = np.packbits(is_one).reshape(n_leds, 3).T
    return list(zip(red.tolist(), green.tolist(), blue.tolist(), strict=True))


def test_one_neopixel_by_eye():
    one, zero = "11111000", "11000000"
    data = neopixel_bytes((1.0, 0.0, 0.0), 1)
    assert "".join(f"{byte:08b}" for byte in data[240:-240]) == zero * 8 + one * 8 + zero * 8  # green, red, blue
    assert data[:240] == data[-240:] == bytes(240)


@given(colours, st.integers(1, 20))
def test_every_neopixel_shows_the_colour(rgb, n_leds):
    shown = read_neopixel(neopixel_bytes(rgb, n_leds), n_leds)
    for led in shown:
        assert np.abs(np.array(led) - 255 * np.array(light_of(rgb))).max() <= 1
        assert any(led) == any(rgb)


def test_the_longest_strip_fits_into_one_transfer():
    assert len(neopixel_bytes(WHITE, MAX_LEDS)) <= 4096
    assert len(apa102_bytes(WHITE, MAX_LEDS)) <= 4096


# --- the device


@pytest.fixture
def spidev(tmp_path, monkeypatch):
    """A file in place of /dev/spidev0.0, and the settings that reached the kernel."""
    device = tmp_path / "spidev0.0"
    device.touch()
    settings: dict[int, bytes] = {}
    real = fcntl.ioctl

    def ioctl(fd, request, argument):
        if os.path.realpath(f"/proc/self/fd/{fd}") != str(device):
            return real(fd, request, argument)
        settings[request] = argument
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return device, settings


def test_the_settings_of_an_spi_output(spidev):
    device, settings = spidev
    SpiDevice(str(device), 2_000_000).close()
    # <linux/spi/spidev.h>: _IOW('k', 1, __u8), _IOW('k', 3, __u8), _IOW('k', 4, __u32)
    iow = {(number, size): 1 << 30 | size << 16 | ord("k") << 8 | number for number, size in ((1, 1), (3, 1), (4, 4))}
    assert settings == {iow[1, 1]: b"\0", iow[3, 1]: b"\x08", iow[4, 4]: struct.pack("I", 2_000_000)}


@pytest.mark.parametrize(("kind", "to_bytes"), [("apa102", apa102_bytes), ("neopixel", neopixel_bytes)])
def test_a_strip_begins_dark_writes_only_changes_and_ends_dark(spidev, kind, to_bytes):
    device, _ = spidev
    strip = open_backend(LedSettings(kind=kind, device=str(device), n_leds=5))
    for rgb in (RED, RED, (0.999999, 0.0, 0.0), WHITE):
        strip.show(look(rgb))
    strip.close()
    strip.close()
    strip.show(look(RED))
    assert device.read_bytes() == b"".join(to_bytes(rgb, 5) for rgb in (BLACK, RED, WHITE, BLACK))


def test_the_hat_with_twelve_leds_is_powered_by_a_pin(spidev, gpio):
    device, _ = spidev
    strip = open_backend(LedSettings(kind="apa102", device=str(device), pins={"power": 5}))
    assert gpio.state(5) == ("out", 1)
    assert device.read_bytes() == apa102_bytes(BLACK, 12)
    strip.close()
    assert [(use, value) for pin, use, value in gpio.log if pin == 5][-2:] == [("out", 0), ("in", 0)]


def test_what_cannot_be_opened_is_one_clear_line_and_leaves_nothing_open(tmp_path, gpio):
    plain = tmp_path / "plain"
    plain.touch()

    def n_open():
        return len(list(Path("/proc/self/fd").iterdir()))

    for device, message in (
        (tmp_path / "spidev0.0", "No such file or directory; switch SPI on"),
        (plain, 'Inappropriate ioctl for device; this is no SPI device; leds.device is one of "/dev/spidev*"'),
    ):
        n_before = n_open()
        with pytest.raises(LightError) as caught:
            open_backend(LedSettings(kind="apa102", device=str(device), pins={"power": 5}))
        assert str(caught.value).startswith(f"{device}: {message}")
        assert n_open() == n_before
        assert gpio.state(5) == ("in", 0)


def test_a_transfer_that_fails_is_one_clear_line_and_tried_again(spidev):
    device, _ = spidev
    spi = SpiDevice(str(device), 2_000_000)
    strip = Strip(spi, apa102_bytes, 100)
    n_bytes = device.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes + 10, limits[1]))  # the file takes ten bytes more
    try:
        with pytest.raises(LightError, match=r"spidev0.0: only 10 of 415 bytes were sent; leds.n_leds may be lower"):
            strip.show(look(RED))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    strip.show(look(RED))
    assert device.read_bytes().endswith(apa102_bytes(RED, 100))
    os.close(spi._fd)  # as if it had been unplugged
    with pytest.raises(LightError, match=r"spidev0.0: Bad file descriptor; is it still there\?"):
        strip.show(look(WHITE))
    spi._fd = -1
