"""`tonelight mute` and `tonelight unmute`."""

from __future__ import annotations

import argparse
import time
from typing import Final

from edge import config
from edge.errors import TonelightError
from edge.health import read_report
from edge.mute import Mute
from edge.observers import Phase
from edge.owner import as_owner_of, refuse_for_the_service

WAIT_S: Final = 5.0
"""How long the daemon may take to follow."""


def run(args: argparse.Namespace) -> int:
    """Press the switch, and wait until the daemon has followed: "muted" is said when the microphone is closed.

    Raises:
        TonelightError: the switch cannot be moved, belongs to somebody else, or the daemon does not follow.
    """
    on: bool = args.on
    mute = Mute(config.mute_path())
    report = read_report(config.health_path())
    if report is None:  # to move this user's own switch would look like success, and the service would go on listening
        refuse_for_the_service(_name(on), "a switch")
    try:
        with as_owner_of(mute.path.parent):
            mute.set(on)
    except OSError as error:
        raise TonelightError(f"{mute.path} cannot be changed: {error.strerror}; sudo tonelight {_name(on)}") from None
    if report is None:
        print(f"{_name(on)}d; tonelight does not run here now, and this holds when it starts")
        return 0
    end_s = time.monotonic() + WAIT_S
    while report is not None and (report.health.phase is Phase.MUTED) != on:
        if time.monotonic() > end_s:
            raise TonelightError(
                f"{mute.path} is set, but the tonelight that runs has not followed for {WAIT_S:g} s; "
                "sudo systemctl restart tonelight"
            )
        time.sleep(0.05)
        report = read_report(config.health_path())
    print("muted: the microphone is closed" if on else "unmuted")
    return 0


def _name(on: bool) -> str:
    return "mute" if on else "unmute"
