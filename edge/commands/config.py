"""`tonelight config check|show`."""

from __future__ import annotations

import argparse

from edge import config


def run(args: argparse.Namespace) -> int:
    """Print "ok: FILE", or the configuration in force as TOML. Raises ConfigError for one that cannot be used."""
    loaded = config.load(args.config)
    if args.what == "show":
        print(config.render(loaded), end="")
        return 0
    file = args.config or config.default_config_path()
    print(f"ok: {file}" if file.exists() else f"ok: no {file}, everything has its default")
    return 0
