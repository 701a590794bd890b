"""`tonelight-train keygen` and `tonelight-train sign`."""

from __future__ import annotations

import argparse
from pathlib import Path

import platformdirs

from edge.usage import HelpFormatter


def add_arguments(commands) -> None:
    """Add both commands to the parser's `commands`."""
    folder = platformdirs.user_config_path("tonelight", appauthor=False) / "signing"
    keygen = commands.add_parser(
        "keygen",
        help="make a key that signs bundles, and the public key for the boards",
        description="Make a key pair: USER.key, which signs bundles and stays here, and USER.pub, which every board is "
        "given that is to accept them. Nothing is overwritten. Keep a copy of the .key in a safe place.",
        epilog="examples:\n  tonelight-train keygen\n  tonelight-train keygen --out /media/stick",
        formatter_class=HelpFormatter,
    )
    keygen.add_argument("--out", type=Path, default=folder, metavar="DIR", help=f"where to (default: {folder})")
    keygen.set_defaults(run=_keygen)

    sign = commands.add_parser(
        "sign",
        help="sign a bundle, so that boards accept it",
        description="Write manifest.sig into the bundle: boards that were given the key's .pub accept it from then on.",
        epilog=f"examples:\n  tonelight-train sign models/tonelight-0.2.0 --key {folder}/USER.key",
        formatter_class=HelpFormatter,
    )
    sign.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    sign.add_argument("--key", type=Path, required=True, metavar="FILE", help="the .key of `tonelight-train keygen`")
    sign.set_defaults(run=_sign)


def _keygen(args: argparse.Namespace) -> int:
    from train_host.signing import keygen

    secret, public = keygen(args.out)
    print(
        f"key {secret}: keep it to yourself\npublic key {public}\n"
        f"next: on each board, sudo install -D -m 644 -t /etc/tonelight/keys {public.name}\n"
        f"      and here, tonelight-train sign BUNDLE --key {secret}"
    )
    return 0


def _sign(args: argparse.Namespace) -> int:
    from train_host.signing import sign

    key = sign(args.bundle, args.key)
    print(
        f"bundle {args.bundle} is signed by key {key}\nnext: on the board, sudo tonelight model install {args.bundle}"
    )
    return 0
