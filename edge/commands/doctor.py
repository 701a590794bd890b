"""`tonelight doctor`."""

from __future__ import annotations

import argparse

import msgspec

from edge.doctor import Check, examine


def run(args: argparse.Namespace) -> int:
    """Print each check, as it is made or all as one JSON object; 1 when something is broken."""
    checks: list[Check] = []
    for check in examine(args.config):
        checks.append(check)
        if not args.json:
            print(f"{check.state:<7}  {check.name:<10}  {check.message}", flush=True)
    is_ok = all(check.state != "broken" for check in checks)
    if args.json:
        print(msgspec.json.encode({"ok": is_ok, "checks": checks}).decode())
    return 0 if is_ok else 1
