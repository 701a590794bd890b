"""`tonelight history`."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TextIO

from edge import config
from edge.commands.common import activation_in_words
from edge.day import bounds_of, day_meant, summarise
from edge.day_table import write_day
from edge.erase import erase_events
from edge.errors import HistoryError
from edge.health import read_report
from edge.history import Event, count_events, parse_since, read_events, write_csv, write_json_lines
from edge.leds.ink import Ink
from edge.owner import as_caller, as_owner_of, refuse_for_the_service


def run(args: argparse.Namespace) -> int:
    """Print what was heard as a table, as JSON Lines, CSV or a day, draw a day, or delete.

    Raises:
        ConfigError: the configuration, or a time that was given, cannot be used.
        HistoryError: there is no log, it cannot be read or changed, or nobody confirmed that it shall be.
        TonelightError: it would be the log of this user, who named none, and a service here has one of its own.
    """
    loaded = config.load(args.config)
    path = loaded.history_path
    if args.config is None and not loaded.history.path and read_report(config.health_path()) is None:
        refuse_for_the_service("history --delete" if args.delete else "history", "a log", path)
    with as_owner_of(path.parent):
        return _run(args, path, loaded.leds.colours)


def _run(args: argparse.Namespace, path: Path, colours: Mapping[str, str]) -> int:
    since = None if args.since is None else parse_since(args.since)
    until = None if args.until is None else parse_since(args.until)
    day = None if args.day is None else day_meant(args.day)
    if day is not None:
        since, until = bounds_of(day)
    if args.delete:
        return _delete(path, since, until, args.yes)
    events = read_events(path, since, until)
    if args.plot is not None:
        assert day is not None
        summary = summarise(events, day, part_minutes=10)
        with as_caller():
            from edge.day_picture import write_picture

            write_picture(summary, args.plot, colours)
    elif args.json:
        write_json_lines(events, sys.stdout)
    elif args.csv:
        write_csv(events, sys.stdout)
    elif day is not None:
        columns = shutil.get_terminal_size().columns
        write_day(summarise(events, day), sys.stdout, Ink(sys.stdout), columns, colours)
    else:
        write_table(events, sys.stdout)
    return 0


def write_table(events: Iterable[Event], out: TextIO) -> None:
    """Write a line for each event: when (in the time zone of the reader), what, how sure, how long, where."""
    n_events = 0
    for event in events:
        if not n_events:
            out.write(f"{'time':<19}  {'activation':<10}  {'tone':<9}  {'sure':>5}  {'length':>8}  device\n")
        n_events += 1
        activation = "–" if event.activation is None else activation_in_words(event.activation)
        note = "  (uncertain)" if event.uncertain else ""
        out.write(
            f"{_local(event.ts)}  {activation:<10}  {event.label:<9}  {event.confidence:>5.0%}"
            f"  {event.end_s - event.start_s:>6.1f} s  {event.node}{note}\n"
        )
    if not n_events:
        out.write("nothing was heard in that time\n")


def _delete(path: Path, since: datetime | None, until: datetime | None, is_sure: bool) -> int:
    """Delete what was heard in a span of time, once somebody has confirmed it.

    Raises:
        HistoryError: it cannot be deleted, or it was not confirmed.
    """
    n_events, first, last = count_events(path, since, until)
    if n_events and not is_sure:
        events = "1 event" if n_events == 1 else f"{n_events} events"
        print(f"{events}, from {_local(first)} to {_local(last)}, will be gone for good. Delete? [y/N] ", end="")
        sys.stdout.flush()
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):
            print()
        if answer.strip().lower() not in ("y", "yes"):
            raise HistoryError("nothing was deleted: answer y, or give --yes not to be asked")
    # Also where there is nothing in that time: what an earlier attempt may have left behind goes now.
    n_erased = erase_events(path, since, until)
    print("nothing was heard in that time" if not n_erased else f"deleted: {n_erased}")
    asides = sorted(path.parent.glob(f"{path.name}.corrupt-*"))
    if asides:
        print(f"older events may also be in damaged logs that were set aside: {asides[0].parent}/{path.name}.corrupt-*")
    return 0


def _local(ts: str) -> str:
    # before Python 3.11 `fromisoformat` does not know "Z"
    return f"{datetime.fromisoformat(ts.replace('Z', '+00:00')).astimezone():%Y-%m-%d %H:%M:%S}"
