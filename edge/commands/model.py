"""`tonelight model list|verify|install|activate|rollback`."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

import msgspec

from edge import __version__, config
from edge.bundle import DEFAULT_BUNDLE, load_bundle, read_manifest
from edge.config import Config
from edge.digest import sha256_hex
from edge.errors import BundleError
from edge.health import Report, read_report
from edge.owner import refuse_for_the_service
from edge.probation import N_STARTS
from edge.store import Store, Verified


class Listed(msgspec.Struct, frozen=True):
    """A bundle as programs see it. `manifest_sha256` is None where the manifest cannot be read."""

    id: str
    manifest_sha256: str | None
    faults: list[str]


class Listing(msgspec.Struct, frozen=True):
    """What `tonelight model list --json` prints: all that a deployment wants to know of a board.

    `configured` is `model.bundle` of the configuration, which listens in place of the active one, or empty; `health` is
    what the tonelight that runs said last in `health_file`, None where none runs.
    """

    tonelight: str
    active: str
    good: str
    bundles: list[Listed]
    configured: str
    n_free_bytes: int
    health_file: str
    health: Report | None


def run(args: argparse.Namespace) -> int:
    """Look at the bundles of this board, or change which of them listens.

    Raises:
        ConfigError: the configuration cannot be used.
        BundleError: the bundle is refused, or the store cannot be read or written.
        TonelightError: it would be the store of this user, who named none, and a service here has one of its own.
    """
    loaded = config.load(args.config)
    store = Store()
    if args.what != "verify" and args.config is None and read_report(config.health_path()) is None:
        given = shlex.join(filter(None, ("model", args.what, args.bundle)))
        refuse_for_the_service(given, "bundles", store.folder)
    if args.json:
        print(msgspec.json.encode(_listing(store, loaded)).decode())
        return 0
    if args.what == "list":
        _list(store)
    elif args.what == "verify":
        verified = store.verify(_folder(store, args.bundle))
        print(f"ok: {_described(verified)}; whole, and computes here what it computed at export")
        return 0
    elif args.what == "install":
        print(f"installed and active: {_described(store.install(Path(args.bundle), args.allow_downgrade))}")
    elif args.what == "activate":
        print(f"active: {_described(store.activate(args.bundle, args.allow_downgrade))}")
    else:
        bundle, faults = store.rollback()
        for fault in faults:
            print(f"tonelight: passed over: {fault}", file=sys.stderr)
        print(f"active: {bundle.id} in {bundle.path}")
    _warn_of_configured(loaded)
    if args.what != "list":
        print("a tonelight that is running takes it up when it is told to: sudo systemctl reload tonelight")
    return 0


def _list(store: Store) -> None:
    """Print a line for each bundle, an arrow before the active one."""
    active = store.active
    back = next(iter(store.rollback_candidates()), active)
    installed = store.installed()
    missing = [name for name in (active,) if name is not None and name not in installed]
    ids: list[str | None] = [None, *installed, *missing]
    width = max(len(name or DEFAULT_BUNDLE) for name in ids)
    for name in ids:
        notes = ["comes with tonelight"] if name is None else []
        if name is not None and name == store.good:
            notes.append("good")
        if name == active != store.good:
            n_starts = store.starts
            notes.append("on probation" + (f", begun {n_starts} of {N_STARTS} times" if n_starts else ""))
        if name is not None and name == store.failed:
            notes.append("did not get through its probation")
        if name == back != active:
            notes.append("`tonelight model rollback` goes here")
        if name in missing:
            notes.append("not there; `tonelight model rollback` goes to one that is")
        else:
            notes += _faults(store, name)
        print(f"{'->' if name == active else '  '} {name or DEFAULT_BUNDLE:<{width}}  {', '.join(notes)}".rstrip())


def _listing(store: Store, loaded: Config) -> Listing:
    folder = next(path for path in (store.folder, *store.folder.absolute().parents) if path.exists())
    return Listing(
        tonelight=__version__,
        active=store.active or DEFAULT_BUNDLE,
        good=store.good or DEFAULT_BUNDLE,
        bundles=[_listed(store, name) for name in (None, *store.installed())],
        configured=loaded.model.bundle,
        n_free_bytes=shutil.disk_usage(folder).free,
        health_file=str(config.health_path()),
        health=read_report(config.health_path()),
    )


def _listed(store: Store, name: str | None) -> Listed:
    try:
        digest = sha256_hex(read_manifest(store.path(name), may_be_link=True))
    except BundleError:
        digest = None
    return Listed(name or DEFAULT_BUNDLE, digest, _faults(store, name))


def _faults(store: Store, name: str | None) -> list[str]:
    try:
        load_bundle(store.path(name))
    except BundleError as error:
        return [str(error)]
    return []


def _folder(store: Store, text: str) -> Path:
    """What to verify: a bundle of this board by its id, else a folder."""
    if text in (*store.installed(), DEFAULT_BUNDLE):
        return store.path(text)
    folder = Path(text)
    if "/" not in text and not os.path.lexists(folder):
        raise BundleError(
            f"there is no folder {text} here, and no bundle of that id on this board; `tonelight model list` shows them"
        )
    return folder


def _described(verified: Verified) -> str:
    origin = "which comes with tonelight" if verified.key is None else f"signed by {verified.key}"
    return f"{verified.bundle.id}, {origin}, in {verified.bundle.path}"


def _warn_of_configured(loaded: Config) -> None:
    if loaded.model.bundle:
        print(
            f"tonelight: model.bundle is set: {loaded.model.bundle} listens in place of the active one", file=sys.stderr
        )
