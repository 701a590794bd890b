"""The command line: arguments in, exit status out.

Only the parser lives here; each command is a module in `edge/commands`, imported when it is called, so that `--help`
and `config check` start without numpy and without a model runtime.

Exit status: 0 done, 1 a deliberate error (one line on stderr), 2 wrong usage, 130 interrupted, 141 the reader of a
pipe went away.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge import __version__
from edge.errors import TonelightError
from edge.usage import HelpFormatter

DESCRIPTION = "A light that shows the tone of a voice, on a board you own, without a word leaving the room."
EXAMPLES = """\
examples:
  tonelight doctor                       is everything there that is needed?
  tonelight devices                      which microphones are there?
  tonelight run                          listen to the microphone, show the tone of the voice
  tonelight run --source talk.wav        the same from a recording, at its own pace
  tonelight listen *.wav                 which tone is in these recordings?
  tonelight history --since 2h           what was heard in the last two hours?
  tonelight config show > config.toml    a configuration to start from, every key explained

`tonelight COMMAND --help` tells more about one command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. `argv` is without the program's name; default: the process's own."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # whoever calls this may have put something simpler there
            # a file name that the terminal cannot show must not end the program
            stream.reconfigure(errors="backslashreplace")
    try:
        args, unknown = build_parser().parse_known_args(argv)
        if unknown:
            args.refuse(f"unrecognized arguments: {' '.join(unknown)}")
        start: Callable[[argparse.Namespace], int] = args.start
        status = start(args)
        sys.stdout.flush()
        return status
    except TonelightError as error:
        print(f"tonelight: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Python flushes stdout once more at exit: give it somewhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; what it parses carries the command to call as `start(args) -> exit status`."""
    parser = argparse.ArgumentParser(
        "tonelight", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"tonelight {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    config_file: Any = {
        "metavar": "F",
        "type": Path,
        "help": "configuration file (default: the one `config check` names)",
    }
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument("--config", **config_file)

    tried: Any = {"metavar": "DIR", "type": Path, "help": "try this model bundle instead of the configured one"}

    def command(
        name: str, start: Callable[[argparse.Namespace], int], summary: str, *examples: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog="\n  ".join(["examples:", *examples]),
            parents=[configured],
            formatter_class=HelpFormatter,
        )
        added.set_defaults(start=start, refuse=added.error)
        return added

    run = command(
        "run",
        _run,
        "listen, show the tone of the voice on the light, and keep a log; until stopped",
        "tonelight run                              the microphone and the light of the configuration",
        "tonelight run --source auto                without a microphone: the demo recording that comes along",
        "tonelight run --page                       and see it in a browser: http://127.0.0.1:8730",
        "tonelight run --view                       and see it in this terminal: all eight emotions",
        "tonelight run --source talk.wav --fast     a recording, as fast as the machine can",
    )
    run.add_argument(
        "--source",
        metavar="mic|auto|FILE",
        default="mic",
        help="mic: the microphone, waited for if it is not there yet; auto: the microphone if there is one, else the "
        "demo recording; FILE: a recording, once (default: mic)",
    )
    run.add_argument("--bundle", **tried)
    run.add_argument("--fast", action="store_true", help="play a recording as fast as possible, not at its own pace")
    run.add_argument("--page", action="store_true", help="serve the page, as `[web] enabled = true` does")
    run.add_argument("--view", action="store_true", help="fill this terminal with what is heard, instead of one line")

    listen = command(
        "listen",
        _listen,
        "tell the tone of recordings, with the same pipeline as `run`",
        "tonelight listen talk.wav                  one line for each stretch of speech, one for the file",
        "tonelight listen --json *.wav > out.jsonl  the same as JSON Lines, for other programs",
    )
    listen.add_argument("file", nargs="+", help="a recording: WAV, FLAC, OGG, MP3 or whatever else libsndfile reads")
    listen.add_argument("--bundle", **tried)
    listen.add_argument("--json", action="store_true", help="print JSON Lines: segment, file and error events")

    command(
        "devices",
        _devices,
        "list the microphones and mark the one that `run` uses",
        "tonelight devices",
    )

    mute = command(
        "mute",
        _mute,
        "close the microphone: nothing is captured until `tonelight unmute`, not even after a restart",
        "tonelight mute             the red light is on when the microphone is closed",
        "sudo tonelight mute        the same where tonelight runs as a service",
    )
    mute.set_defaults(on=True)
    unmute = command("unmute", _mute, "listen again after `tonelight mute`", "tonelight unmute")
    unmute.set_defaults(on=False)

    capture = command(
        "capture",
        _capture,
        "keep clips of speech on this board for a while, to teach the light by them; it shows violet meanwhile",
        "tonelight capture on              for half an hour",
        "tonelight capture on --for 2h",
        "tonelight capture off             at once; muting and a restart of the board do the same",
    )
    capture.add_argument("what", choices=["on", "off"], help="on: keep clips of what is said; off: no longer")
    capture.add_argument("--for", dest="duration", metavar="T", help="for how long: 90s, 30m, 2h (default: 30m)")

    clips = command(
        "clips",
        _clips,
        "see the clips that `capture` has kept, say what they were, delete them, or take them to the workstation",
        "tonelight clips list",
        "tonelight clips label last sad                     what was said last was sad",
        "tonelight clips label 20261120-183002-250 happy",
        "tonelight clips export mine                        those that have been named, for tonelight-train adapt",
        "tonelight clips delete 20261120-183002-250",
        "tonelight clips delete --all                       all of them, for good",
    )
    clips.add_argument("what", choices=["list", "label", "delete", "export"], help="what to do with them")
    clips.add_argument(
        "given", nargs="*", help="label: a clip, or `last`, and its emotion; delete: clips; export: a new folder"
    )
    clips.add_argument("--all", action="store_true", help="delete: every clip, once you have confirmed that")
    clips.add_argument("--yes", action="store_true", help="delete --all: without being asked")

    leds = command("leds", _leds, "try the light", "tonelight leds test    every emotion and every status, by name")
    leds.add_argument("what", choices=["test"], help="test: show everything the light can show, one after the other")

    doctor = command(
        "doctor",
        _doctor,
        "check everything that is needed, and say what to do about what is missing",
        "tonelight doctor           a line for each check; exit status 1 when something is broken",
        "tonelight doctor --json    the same for other programs",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")

    bench = command(
        "bench",
        _bench,
        "measure what listening costs on this machine: CPU time, memory, start-up",
        "tonelight bench            some seconds on a PC, up to a minute on a small board",
        "tonelight bench --json     the same for other programs",
    )
    bench.add_argument("--bundle", **tried)
    bench.add_argument("--json", action="store_true", help="print one JSON object")

    config = command(
        "config",
        _config,
        "check the configuration, or show it with every key explained",
        "tonelight config check                   which file is used, and is it right?",
        "tonelight config show > config.toml      a file to start from",
    )
    config.add_argument("what", choices=["check", "show"], help="check: name the first mistake; show: print it as TOML")

    model = command(
        "model",
        _model,
        "see which model bundles are here, install one, or go back",
        "tonelight model list                             which are here, and which one listens?",
        "tonelight model verify DIR                       is it whole, signed by a key of this board, and does it run?",
        "tonelight model install DIR                      verify it, copy it here, and let it listen",
        "tonelight model activate tonelight-0.2.0         let one listen that is here already",
        "tonelight model rollback                         back to the one that listened before",
        "sudo install -D -m 644 -t /etc/tonelight/keys anna.pub    accept what Anna signs",
    )
    # each with a parser of its own: an option may stand before the bundle, and is known only where it means something
    whats = model.add_subparsers(dest="what", metavar="WHAT", required=True)
    model.set_defaults(json=False, bundle=None, allow_downgrade=False)
    # what is not given here must not undo what was given before WHAT
    configured_too = argparse.ArgumentParser(add_help=False)
    configured_too.add_argument("--config", default=argparse.SUPPRESS, **config_file)

    def what(
        name: str, summary: str, bundle: str | None = None, *, may_downgrade: bool = False
    ) -> argparse.ArgumentParser:
        added = whats.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", parents=[configured_too]
        )
        added.set_defaults(refuse=added.error)
        if bundle:
            added.add_argument("bundle", help=bundle)
        if may_downgrade:
            added.add_argument(
                "--allow-downgrade", action="store_true", help="let an older version than the active one listen"
            )
        return added

    listed = what("list", "show which bundles are here, and which one listens")
    listed.add_argument("--json", action="store_true", help="print one JSON object, for other programs")
    what("verify", "check one", "folder or id of a bundle")
    what("install", "take one over from a folder, and let it listen", "folder of a bundle", may_downgrade=True)
    what("activate", "let one listen that is here already", "id of a bundle", may_downgrade=True)
    what("rollback", "undo the last change")

    history = command(
        "history",
        _history,
        "show what was heard, from the local log, or delete it",
        "tonelight history --since 2h               the last two hours, as a table",
        "tonelight history --day yesterday          a day, hour by hour",
        "tonelight history --plot today.svg         the same as a picture",
        "tonelight history --since 2026-11-01 --until 2026-12-01 --csv > november.csv",
        "tonelight history --delete --since 2026-11-20T18:00 --until 2026-11-20T22:00",
    )
    history.add_argument(
        "--since", metavar="T", help="from when on: 30m, 2h, 1d, yesterday, or a date and time (default: everything)"
    )
    history.add_argument("--until", metavar="T", help="up to when, written like --since (default: now)")
    history.add_argument(
        "--day", metavar="D", nargs="?", const="today", help="one day: today, yesterday, 2026-11-20 (default: today)"
    )
    form = history.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON Lines, one event each")
    form.add_argument("--csv", action="store_true", help="print CSV with a header")
    form.add_argument("--plot", metavar="F", type=Path, help="draw a day into a file that ends in .svg or .png")
    form.add_argument("--delete", action="store_true", help="delete it for good, once you have confirmed that")
    history.add_argument("--yes", action="store_true", help="delete without being asked")
    return parser


def _run(args: argparse.Namespace) -> int:
    if args.fast and args.source == "mic":
        args.refuse("--fast needs a recording: --source FILE")
    try:
        from edge.commands import run

        return run.run(args)
    except KeyboardInterrupt:  # before the daemon watches for it: a clean end all the same
        return 0


def _listen(args: argparse.Namespace) -> int:
    from edge.commands import listen

    return listen.run(args)


def _devices(args: argparse.Namespace) -> int:
    from edge.commands import devices

    return devices.run(args)


def _mute(args: argparse.Namespace) -> int:
    from edge.commands import mute

    return mute.run(args)


def _capture(args: argparse.Namespace) -> int:
    if args.duration is not None and args.what != "on":
        args.refuse("--for is for `tonelight capture on`")
    from edge.commands import capture

    return capture.run(args)


def _clips(args: argparse.Namespace) -> int:
    usage = {
        "list": (not args.given, "takes nothing more"),
        "label": (len(args.given) == 2, "needs a clip (or `last`) and its emotion"),
        "delete": (bool(args.given) != args.all, "needs clips, or --all"),
        "export": (len(args.given) == 1, "needs a folder"),
    }
    is_right, needed = usage[args.what]
    if not is_right:
        args.refuse(f"`tonelight clips {args.what}` {needed}")
    if (args.all or args.yes) and args.what != "delete":
        args.refuse("--all and --yes are for `tonelight clips delete`")
    if args.yes and not args.all:
        args.refuse("--yes is for `tonelight clips delete --all`")
    from edge.commands import clips

    return clips.run(args)


def _leds(args: argparse.Namespace) -> int:
    from edge.commands import leds

    return leds.run(args)


def _doctor(args: argparse.Namespace) -> int:
    from edge.commands import doctor

    return doctor.run(args)


def _bench(args: argparse.Namespace) -> int:
    from edge.commands import bench

    return bench.run(args)


def _config(args: argparse.Namespace) -> int:
    from edge.commands import config

    return config.run(args)


def _model(args: argparse.Namespace) -> int:
    from edge.commands import model

    return model.run(args)


def _history(args: argparse.Namespace) -> int:
    if args.plot is not None and args.day is None:
        args.day = "today"
    if args.day is not None and (args.since is not None or args.until is not None):
        args.refuse("a day has a beginning and an end of its own: leave out --since and --until")
    if args.yes and not args.delete:
        args.refuse("--yes is for --delete")
    from edge.commands import history

    return history.run(args)
