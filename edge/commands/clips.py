"""`tonelight clips`."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path

from edge import config
from edge.capture import CaptureSwitch
from edge.clips import MANIFEST, Clips
from edge.commands.capture import in_words
from edge.config import CaptureSettings
from edge.errors import ClipError
from edge.health import read_report
from edge.owner import as_owner_of, refuse_for_the_service


def run(args: argparse.Namespace) -> int:
    """List clips, name one, delete some or all, or export those that have been named.

    Raises:
        ConfigError: the configuration cannot be used.
        ClipError: there is no such clip or emotion, the folder cannot be read or written, or nobody confirmed that all
            shall be deleted.
    """
    limits = config.load(args.config).capture
    clips, switch = Clips(config.clips_path()), CaptureSwitch(config.capture_path())
    if not clips.folder.exists() and read_report(config.health_path()) is None:
        refuse_for_the_service(f"clips {args.what}", "clips")
    with as_owner_of(config.state_dir()):
        return _run(args, clips, switch, limits)


def _run(args: argparse.Namespace, clips: Clips, switch: CaptureSwitch, limits: CaptureSettings) -> int:
    if args.what == "delete":
        return _delete(clips, switch, args)
    clips.prune(limits.max_clips, limits.max_mb, limits.max_days)  # also where no daemon has done it for long
    if args.what == "label":
        return _label(clips, *args.given)
    if args.what == "export":
        target = Path(args.given[0])
        n_clips = clips.export(target)
        table = Path(target.name) / MANIFEST
        print(f"{_counted(n_clips)} in {target}; on the workstation: tonelight-train adapt RUN --clips {table}")
        return 0
    return _list(clips, switch)


def _list(clips: Clips, switch: CaptureSwitch) -> int:
    left_s = switch.left_s
    found = clips.all()
    if found:
        print(f"{'clip':<21}  {'said at':<19}  {'length':>7}  {'guessed':<9}  {'sure':>4}  named")
    for clip in found:
        about = clip.about
        # before Python 3.11 `fromisoformat` does not know "Z"
        when = datetime.fromisoformat(about.ts.replace("Z", "+00:00")).astimezone()
        print(
            f"{clip.id:<21}  {when:%Y-%m-%d %H:%M:%S}  {about.seconds:>5.1f} s  {about.guess:<9}  "
            f"{about.confidence:>4.0%}  {about.emotion or '–'}"
        )
    n_named = sum(clip.about.emotion is not None for clip in found)
    print(f"{_counted(len(found))}, {n_named} of them named; in {clips.folder}" if found else "there are no clips")
    print(f"capture is on for another {in_words(left_s)}" if left_s else "capture is off")
    return 0


def _label(clips: Clips, clip_id: str, emotion: str) -> int:
    if clip_id == "last":
        last = clips.last()
        if last is None:
            raise ClipError("there are no clips; `tonelight capture on` has them kept for a while")
        clip_id = last.id
    clip = clips.label(clip_id, emotion)
    print(f"{clip.id}: {emotion} (guessed: {clip.about.guess})")
    return 0


def _delete(clips: Clips, switch: CaptureSwitch, args: argparse.Namespace) -> int:
    if not args.all:
        for clip_id in args.given:
            clips.delete(clip_id)
        print(f"deleted: {_counted(len(args.given))}")
        return 0
    n_clips = len(clips.all())
    if n_clips and not args.yes:
        print(f"{_counted(n_clips)} will be gone for good. Delete? [y/N] ", end="")
        sys.stdout.flush()
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):
            print()
        if answer.strip().lower() not in ("y", "yes"):
            raise ClipError("nothing was deleted: answer y, or give --yes not to be asked")
    print(f"deleted: {_counted(clips.delete_all())}")
    if switch.left_s:
        print("capture is still on: `tonelight capture off`")
    return 0


def _counted(n_clips: int) -> str:
    return "1 clip" if n_clips == 1 else f"{n_clips} clips"
