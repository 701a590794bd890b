"""`tonelight history`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import TextIO

from edge import config
from edge.commands.common import activation_in_words
from edge.history import Event, parse_since, read_events, write_csv, write_json_lines


def run(args: argparse.Namespace) -> int:
    """Print what was heard as a table, JSON Lines or CSV.

    Raises:
        ConfigError: the configuration, or what was given with --since, cannot be used.
        HistoryError: there is no log, or it cannot be read.
    """
    loaded = config.load(args.config)
    since = parse_since(args.since) if args.since is not None else None
    events = read_events(loaded.history_path, since)
    write = write_json_lines if args.json else write_csv if args.csv else write_table
    write(events, sys.stdout)
    return 0


def write_table(events: Iterable[Event], out: TextIO) -> None:
    """Write a line for each event: when (in the time zone of the reader), what, how sure, how long, where."""
    n_events = 0
    for event in events:
        if not n_events:
            out.write(f"{'time':<19}  {'activation':<10}  {'tone':<9}  {'sure':>5}  {'length':>8}  device\n")
        n_events += 1
        # before Python 3.11 `fromisoformat` does not know "Z"
        when = datetime.fromisoformat(event.ts.replace("Z", "+00:00")).astimezone()
        activation = "–" if event.activation is None else activation_in_words(event.activation)
        note = "  (uncertain)" if event.uncertain else ""
        out.write(
            f"{when:%Y-%m-%d %H:%M:%S}  {activation:<10}  {event.label:<9}  {event.confidence:>5.0%}"
            f"  {event.end_s - event.start_s:>6.1f} s  {event.node}{note}\n"
        )
    if not n_events:
        out.write("nothing was heard in that time\n")
