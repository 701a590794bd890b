"""`tonelight-train adapt`: from a finished run and one person's clips to a bundle for that person's light."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from edge.usage import HelpFormatter

DESCRIPTION: Final = """\
Adapts a finished run to one person and makes a bundle of it. The person says something in each emotion, three to five
times, in the room and at the microphone where the light will be, and lists the recordings in a CSV table:

  path,emotion
  happy-1.wav,happy
  happy-2.wav,happy
  sad-1.wav,sad

Paths are relative to the table. Emotions that are not in it stay as they were. Recordings do not leave this machine;
the bundle holds none of them, only weights fitted to them.
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the command `adapt` to the subparsers of `tonelight-train`; the parsed `args.run` is `run`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "adapt",
        help="a bundle for one person, by a few labelled clips",
        description=DESCRIPTION,
        epilog="examples:\n  tonelight-train adapt runs/tonelight-0 --clips mine/manifest.csv",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder of `tonelight-train train`")
    parser.add_argument("--clips", type=Path, required=True, metavar="MANIFEST", help="the person's recordings (CSV)")
    parser.add_argument("--version", help="of the bundle (default: a minor version above the newest in --out)")
    parser.add_argument("--out", type=Path, default=Path("models"), metavar="DIR", help="where to (default: models)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit status: 0. Raises TonelightError where run or recordings cannot be used, or the bundle exists."""
    from rich.console import Console

    from train_host.cli import _import_keras

    _import_keras()
    from train_host.adapt import adapt, read_clips
    from train_host.export import check_target, export, next_version
    from train_host.train import load_run

    console = Console(highlight=False, soft_wrap=True)
    info, _ = load_run(args.folder)
    name = f"{info.recipe}-personal"
    version = args.version or next_version(args.out, name)
    check_target(args.out, name, version)
    clips = read_clips(args.clips)
    with TemporaryDirectory(prefix="tonelight-adapt-") as folder:
        adapted = Path(folder) / "run"
        adapt(args.folder, clips, adapted, console)
        bundle = export(
            adapted,
            args.out,
            name=name,
            version=version,
            clips=None,
            console=console,
        )
    print(
        f"bundle {bundle}\nnext: tonelight listen --bundle {bundle} FILE\n"
        f"      then tonelight-train sign {bundle} --key FILE, and on the board, sudo tonelight model install {bundle}"
    )
    return 0
