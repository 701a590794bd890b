"""`tonelight devices`."""

from __future__ import annotations

import argparse
import sys

from edge import config
from edge.commands.common import microphone_of
from edge.errors import SourceError
from edge.sources import input_devices


def run(args: argparse.Namespace) -> int:
    """Print each microphone, an arrow before the one `run` uses; 1 where it would find none to use.

    Raises:
        ConfigError: the configuration cannot be used.
        SourceError: PortAudio is missing.
    """
    loaded = config.load(args.config)
    devices = input_devices()
    chosen, fault = None, None
    try:
        chosen = microphone_of(loaded, devices)
    except SourceError as error:
        fault = error
    width = max((len(device.name) for device in devices), default=0)
    for device in devices:
        mark = "->" if device is chosen else "  "
        default = ", default" if device.is_default else ""
        alsa = f", {device.alsa_name}" if device.alsa_name not in ("", device.name) else ""
        channels = f"{device.n_channels} channel{'s' if device.n_channels > 1 else ''}"
        print(f"{mark} {device.name:<{width}}  {channels}, {device.rate_hz} Hz, {device.host_api}{alsa}{default}")
    if fault:
        # said after the list, which it speaks of
        sys.stdout.flush()
        raise fault
    return 0
