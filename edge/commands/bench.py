"""`tonelight bench`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import msgspec

from edge import bench, config
from edge.commands.common import bundle_of


def run(args: argparse.Namespace) -> int:
    """Print what listening costs on this machine, as a table or as one JSON object.

    Raises:
        ConfigError: the configuration cannot be used.
        BundleError: the model cannot be used.
        TonelightError: the daemon does not start.
    """
    bundle = bundle_of(config.load(args.config), args.bundle)
    about = {**bench.machine(), "bundle": bundle.id}
    figures = bench.examine(bundle, bench.demo())
    if args.json:
        print(msgspec.json.encode({**about, "figures": figures}).decode())
        return 0
    print(table(about, figures))
    return 0


def table(about: Mapping[str, str], figures: Mapping[str, bench.Figure]) -> str:
    """What was measured on, and a line for each figure."""
    lines = [f"{name:<10}  {words}" for name, words in about.items()]
    lines += ["", *(f"{figure.what:<48}  {figure.value:8.3f}  {figure.unit}" for figure in figures.values())]
    return "\n".join(lines)
