"""`tonelight capture on` and `tonelight capture off`."""

from __future__ import annotations

import argparse
import time
from typing import Final

from edge import config
from edge.capture import DEFAULT_S, CaptureSwitch, parse_duration
from edge.errors import TonelightError
from edge.health import read_report
from edge.mute import Mute
from edge.owner import as_owner_of, refuse_for_the_service

WAIT_S: Final = 5.0
"""How long the daemon may take to follow."""


def run(args: argparse.Namespace) -> int:
    """Move the switch, and wait until the daemon has followed.

    Raises:
        TonelightError: no light of this board can show it, it is muted, the time is none, the switch cannot be moved
            or belongs to somebody else, or the daemon does not follow.
    """
    on = args.what == "on"
    loaded = config.load(args.config)
    seconds = parse_duration(args.duration) if args.duration is not None else DEFAULT_S
    report = read_report(config.health_path())
    if report is None:
        refuse_for_the_service(f"capture {args.what}", "clips")
    if on and not loaded.leds.can_show_capturing:
        raise TonelightError(
            f'leds.kind = "{loaded.leds.kind}": this light cannot show that clips are kept, and unseen none are; '
            "single LEDs need one more, leds.pins.capturing"
        )
    if on and Mute(config.mute_path()).is_on:
        raise TonelightError("muted: nothing is heard, so there is nothing to keep; `tonelight unmute` first")
    switch = CaptureSwitch(config.capture_path())
    _move(switch, seconds if on else 0.0)
    if report is None:
        until = f"on for {in_words(seconds)}; tonelight does not run here now, and nothing is kept until it does"
        print(f"capture is {until if on else 'off'}")
        return 0
    end_s = time.monotonic() + WAIT_S
    while report is not None and (report.health.capturing_s > 0) != on:
        if time.monotonic() > end_s:
            if on:
                _move(switch, 0.0)
                raise TonelightError(
                    "the tonelight that runs keeps no clips, as its light does not work or cannot show it; "
                    "`tonelight doctor` says why; capture is off again"
                )
            raise TonelightError(
                f"capture is off, but the tonelight that runs has not followed for {WAIT_S:g} s; "
                "sudo systemctl restart tonelight"
            )
        time.sleep(0.05)
        report = read_report(config.health_path())
    if on:
        print(f"clips of what is said are kept on this board for {in_words(seconds)}; the light shows violet meanwhile")
    else:
        print("clips are no longer kept; `tonelight clips list` shows those that are there")
    return 0


def in_words(seconds: float) -> str:
    """ "90 s", "30 minutes", "2 hours"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:g} hours"


def _move(switch: CaptureSwitch, for_s: float) -> None:
    try:
        with as_owner_of(switch.path.parent):
            switch.set(for_s)
    except OSError as error:
        raise TonelightError(f"{switch.path}: cannot be changed: {error.strerror}; try again with sudo") from None
