"""Installed whole or not at all: whatever is fed, and wherever it is killed, the board has a bundle that runs."""

import fcntl
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import pytest
from bundles import edit, fix_hashes
from hypothesis import given, settings
from hypothesis import strategies as st
from signed import Maker, skip_unless_shipped_bundle_works

from edge.bundle import CARD, DEFAULT_BUNDLE, GOLDEN, MANIFEST, MAX_FILE_BYTES, MODEL, default_bundle_path, load_bundle
from edge.errors import BundleError
from edge.signing import SIGNATURE
from edge.store import ACTIVE, N_KEPT, Store
from train_host.signing import sign


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def store(tmp_path: Path, maker: Maker) -> Store:
    """An empty store that trusts the maker."""
    keys = tmp_path / "keys"
    keys.mkdir()
    shutil.copy(maker.public, keys)
    return Store(tmp_path / "state" / "models", keys)


def refused(store: Store, bundle: Path, *named: str) -> str:
    """The bundle is neither verified nor installed, each in one line that holds all of `named`; nothing stays of it."""
    before = contents(store)
    lines = []
    for change in (store.verify, store.install):
        with pytest.raises(BundleError) as caught:
            change(bundle)
        lines.append(str(caught.value))
        assert len(lines[-1].splitlines()) == 1
        for name in named:
            assert name in lines[-1]
    assert contents(store) == before
    return lines[0]


def contents(store: Store) -> dict[str, bytes | str]:
    """Everything in the store but its lock: files with their content, links with their target."""
    return {
        str(path.relative_to(store.folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(store.folder.rglob("*"))
        if (path.is_symlink() or path.is_file()) and path.name != ".lock"
    }


def names(store: Store) -> list[str]:
    """What lies in the store's folder itself."""
    return sorted(path.name for path in store.folder.iterdir())


def resign(bundle: Path, maker: Maker) -> None:
    (bundle / SIGNATURE).unlink(missing_ok=True)
    sign(bundle, maker.key)


# Install --------------------------------------------------------------------------------------------------------------


def test_an_empty_board_runs_what_came_with_the_program(store):
    assert (store.active, store.previous, store.good, store.installed()) == (None, None, None, [])
    assert store.path(None) == store.path(DEFAULT_BUNDLE) == default_bundle_path()


def test_install_copies_what_is_signed_and_switches(store, maker):
    source = maker.make("1.0.0")
    verified = store.install(source)
    assert (verified.bundle.id, verified.bundle.path) == ("test-1.0.0", store.folder / "test-1.0.0")
    assert verified.key is not None and verified.key.raw in {key.raw for key in _trusted(store)}
    assert store.active == "test-1.0.0"
    assert {p.name: p.read_bytes() for p in source.iterdir()} == {
        p.name: p.read_bytes() for p in (store.folder / "active").iterdir()
    }
    assert names(store) == [".lock", "active", "test-1.0.0"]


def _trusted(store: Store) -> list:
    from edge.signing import trusted_keys

    return list(trusted_keys(store.keys).values())


def test_everybody_may_read_what_is_installed_whatever_the_umask(store, maker):
    before = os.umask(0o077)
    try:
        store.install(maker.make("1.0.0"))
    finally:
        os.umask(before)
    folder = store.folder / "test-1.0.0"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_root_installs_belongs_to_the_owner_of_the_state(store, maker):
    with TemporaryDirectory() as name:  # which others can reach
        board = Path(name)
        board.chmod(0o755)
        (board / "state").mkdir()
        os.chown(board / "state", 12345, 23456)
        for version in ("1.0.0", "1.1.0"):
            Store(board / "state" / "models", store.keys).install(maker.make(version))
        owners = {path: (path.lstat().st_uid, path.lstat().st_gid) for path in (board / "state").rglob("*")}
    assert len(owners) > 10
    assert set(owners.values()) == {(12345, 23456)}


def test_the_links_stay_right_when_the_folder_is_moved(store, maker):
    store.install(maker.make("1.0.0"))
    moved = Store(store.folder.parent.rename(store.folder.parents[1] / "elsewhere") / "models", store.keys)
    assert load_bundle(moved.folder / "active").id == moved.active == "test-1.0.0"


def test_installing_again_changes_nothing(store, maker):
    source = maker.make("1.0.0")
    store.install(source)
    before = contents(store)
    store.install(source)
    assert contents(store) == before


def test_installing_the_installed_one_changes_nothing(store, maker):
    store.install(maker.make("1.0.0"))
    before = contents(store)
    store.install(store.folder / "active")
    assert contents(store) == before


@pytest.mark.parametrize("name", [MODEL, GOLDEN, CARD, MANIFEST, SIGNATURE])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_installing_again_mends(name, damage, store, maker):
    source = maker.make("1.0.0")
    store.install(source)
    before = contents(store)
    damaged = store.folder / "test-1.0.0" / name
    damaged.unlink()
    if damage == "changed":
        damaged.write_bytes(b"\0" * 100)
    with pytest.raises(BundleError):
        store.verify(damaged.parent)
    store.install(source)
    assert contents(store) == before


def test_a_version_is_one_bundle_for_ever(store, maker):
    store.install(maker.make("1.0.0"))
    before = contents(store)
    with pytest.raises(BundleError, match=r"another bundle test-1\.0\.0 is here already .*another --version"):
        store.install(maker.make("1.0.0", note="another"))
    assert contents(store) == before


def test_the_version_of_the_bundle_that_ships_is_taken_too(store, maker):
    name, version = DEFAULT_BUNDLE.rsplit("-", 1)
    with pytest.raises(BundleError, match=rf"another bundle {DEFAULT_BUNDLE} is here already"):
        store.install(maker.make(version, name=name))
    assert contents(store) == {}


def test_an_older_one_is_refused_unless_it_is_asked_for(store, maker):
    for version in ("1.9.0", "1.10.0"):
        store.install(maker.make(version))
    with pytest.raises(
        BundleError, match=r"test-1\.9\.5 is older than test-1\.10\.0, the active one; .*--allow-downgrade"
    ):
        store.install(maker.make("1.9.5"))
    assert store.installed() == ["test-1.9.0", "test-1.10.0"]
    with pytest.raises(BundleError, match=r"test-1\.9\.0 is older than test-1\.10\.0, the active one"):
        store.activate("test-1.9.0")
    store.activate("test-1.9.0", allow_downgrade=True)
    assert store.active == "test-1.9.0"
    store.install(maker.make("1.9.5"))
    assert store.active == "test-1.9.5"


def test_older_than_the_one_that_ships(store, maker):
    with pytest.raises(BundleError, match=rf"is older than {DEFAULT_BUNDLE}, the active one"):
        store.install(maker.make("0.0.9", name=DEFAULT_BUNDLE.rsplit("-", 1)[0]))


def test_versions_of_another_name_are_not_compared(store, maker):
    store.install(maker.make("2.0.0"))
    store.install(maker.make("1.0.0", name="other"))
    assert store.active == "other-1.0.0"


def test_only_so_many_are_kept(store, maker):
    first = store.install(maker.make("1.0.0")).bundle.id
    store.mark_good(first)
    ids = [store.install(maker.make(f"1.{minor}.0")).bundle.id for minor in range(1, N_KEPT + 5)]
    assert store.installed() == [first, *ids[-2 - N_KEPT :]]
    assert (store.active, store.previous, store.good) == (ids[-1], ids[-2], first)
    assert not [name for name in names(store) if name.startswith((".incoming", ".removed"))]


def test_leftovers_of_an_interrupted_install_are_removed(store, maker):
    for name in (".incoming-abc", ".removed-test-0.9.0"):
        (store.folder / name).mkdir(parents=True)
        (store.folder / name / MODEL).write_bytes(b"half")
    assert store.installed() == []
    store.install(maker.make("1.0.0"))
    assert names(store) == [".lock", "active", "test-1.0.0"]


# What is refused ------------------------------------------------------------------------------------------------------


def test_unsigned(store, maker):
    refused(store, maker.make("1.0.0", signed=False), "is not signed; ", "tonelight-train sign", "install -D")


def test_signed_by_a_key_the_board_was_not_given(store, maker):
    for file in store.keys.iterdir():
        file.unlink()
    refused(store, maker.make("1.0.0"), "which this board was not given (it has none yet)")


def test_a_key_that_was_taken_away_again(store, maker):
    store.install(maker.make("1.0.0"))
    store.install(maker.make("1.1.0"))
    for file in store.keys.iterdir():
        file.unlink()
    with pytest.raises(BundleError, match="was not given"):
        store.activate("test-1.0.0")
    assert store.active == "test-1.1.0"


@pytest.mark.parametrize("name", [MODEL, GOLDEN, CARD])
def test_a_tampered_file(name, store, maker):
    bundle = maker.make("1.0.0")
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    refused(store, bundle, f"{name} is damaged or was changed")


def test_a_tampered_file_with_its_hash_made_right(store, maker):
    bundle = maker.make("1.0.0")
    (bundle / CARD).write_text("Best model of all.\n")
    fix_hashes(bundle)
    refused(store, bundle, "its manifest is not the one that key", "signed")


@pytest.mark.parametrize("n_bytes", [0, 1, 100])
def test_a_truncated_signature(n_bytes, store, maker):
    bundle = maker.make("1.0.0")
    (bundle / SIGNATURE).write_bytes((bundle / SIGNATURE).read_bytes()[:n_bytes])
    refused(store, bundle, f"{SIGNATURE}: ")


def test_the_signature_of_another_version(store, maker):
    bundle = maker.make("1.0.0")
    shutil.copy(maker.make("1.1.0") / SIGNATURE, bundle)
    refused(store, bundle, "its manifest is not the one that key")


@pytest.mark.parametrize("name", [MODEL, GOLDEN, CARD, MANIFEST])
def test_a_missing_file(name, store, maker):
    bundle = maker.make("1.0.0")
    (bundle / name).unlink()
    refused(store, bundle, name)


@pytest.mark.parametrize("name", [MODEL, GOLDEN, CARD, MANIFEST, SIGNATURE])
def test_a_link_even_to_the_right_content(name, store, maker):
    bundle = maker.make("1.0.0")
    (bundle / name).rename(bundle.parent / name)
    (bundle / name).symlink_to(bundle.parent / name)
    refused(store, bundle, name, "plain file")


def test_a_link_to_something_secret(store, maker):
    bundle = maker.make("1.0.0", signed=False)
    (bundle / "notes").symlink_to("/etc/shadow")
    sign(bundle, maker.key)
    refused(store, bundle, "notes is not a plain file")
    edit(bundle, lambda manifest: manifest["files"].update(notes="0" * 64))
    with pytest.raises(BundleError):  # whoever signs is told already
        sign(bundle, maker.key)


def test_a_pipe_a_folder_and_a_stranger(store, maker):
    bundle = maker.make("1.0.0")
    os.mkfifo(bundle / "pipe")
    refused(store, bundle, "pipe is not a plain file")
    (bundle / "pipe").unlink()
    (bundle / "more").mkdir()
    refused(store, bundle, "more is not a plain file")
    (bundle / "more").rmdir()
    (bundle / "two\nlines.sh").write_text("#!/bin/sh\n")
    refused(store, bundle, r"two\nlines.sh", "is not listed in manifest.json; remove it")
    (bundle / "two\nlines.sh").unlink()
    for name in (MANIFEST, SIGNATURE):
        kept = (bundle / name).read_bytes()
        (bundle / name).unlink()
        os.mkfifo(bundle / name)
        refused(store, bundle, f"{name} is not a plain file")
        (bundle / name).unlink()
        (bundle / name).write_bytes(kept)
    store.install(bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "sub/file", "..", "", "a\nb", ".hidden", MANIFEST])
def test_a_name_that_leads_elsewhere(name, store, maker):
    bundle = maker.make("1.0.0", signed=False)
    (bundle.parent / "outside").write_bytes(b"")
    edit(bundle, lambda manifest: manifest["files"].update({name: "0" * 64}))
    _sign_anything(bundle, maker)
    refused(store, bundle)


def _sign_anything(bundle: Path, maker: Maker) -> None:
    """Sign what `tonelight-train sign` would refuse: a trusted key does not make a bad bundle good."""
    from edge.signing import SIGNATURE_SCHEMA
    from train_host.signing import public_key, read_private_key

    key = read_private_key(maker.key)
    content = (bundle / MANIFEST).read_bytes()
    signature = {"schema": SIGNATURE_SCHEMA, "key": public_key(key).id, "signature": key.sign(content).hex()}
    (bundle / SIGNATURE).write_text(json.dumps(signature))


@pytest.mark.parametrize("name", [MODEL, MANIFEST, SIGNATURE])
def test_a_huge_file(name, store, maker):
    bundle = maker.make("1.0.0")
    os.truncate(bundle / name, MAX_FILE_BYTES + 1)
    refused(store, bundle, f"{name} is larger than any file of a bundle may be (64 MiB)")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "tonelight-bundle/9"},
        {"name": "../../etc"},
        {"version": "1.0"},
        {"version": f"1.0.{'9' * 10}"},
        {"version": f"1.0.{'9' * 5000}"},
        {"surprise": 1},
    ],
)
def test_a_signed_manifest_is_parsed_strictly_all_the_same(change, store, maker):
    bundle = maker.make("1.0.0", signed=False)
    edit(bundle, lambda manifest: manifest.update(change))
    _sign_anything(bundle, maker)
    refused(store, bundle, MANIFEST)


def test_a_model_that_does_not_load(store, maker):
    bundle = maker.make("1.0.0", signed=False)
    (bundle / MODEL).write_bytes(b"no model")
    fix_hashes(bundle)
    resign(bundle, maker)
    refused(store, bundle)


def test_golden_vectors_that_this_machine_does_not_reproduce(store, maker):
    import numpy as np

    bundle = maker.make("1.0.0", signed=False)
    with np.load(bundle / GOLDEN) as file:
        arrays = dict(file)
    arrays["probabilities"] = arrays["probabilities"][:, ::-1]
    np.savez(bundle / GOLDEN, **arrays)
    fix_hashes(bundle)
    resign(bundle, maker)
    refused(store, bundle, "probabilities of the golden signal differ by")


def test_what_is_no_bundle(store, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    refused(store, tmp_path / "nowhere", "nowhere does not exist; give the folder that holds manifest.json")
    refused(store, tmp_path / "file", "file is a file, not a folder")
    refused(store, tmp_path / "empty", "has no manifest.json")
    refused(store, tmp_path / ("x" * 300), "File name too long")


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([MANIFEST, SIGNATURE]))
def test_garbage(maker, content, name):
    bundle = maker.make("1.0.0")
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError):
        Store(bundle.parent / "models", maker.public.parent).install(bundle)
    shutil.rmtree(bundle.parent)


# Back -----------------------------------------------------------------------------------------------------------------


def test_back_to_the_one_before(store, maker):
    for version in ("1.0.0", "1.1.0"):
        store.install(maker.make(version))
    bundle, faults = store.rollback()
    assert (bundle.id, faults, store.active) == ("test-1.0.0", [], "test-1.0.0")
    assert store.installed() == ["test-1.0.0", "test-1.1.0"]
    assert store.rollback_candidates() == [None]


def test_back_past_one_that_was_never_good(store, maker):
    store.install(maker.make("1.0.0"))
    store.mark_good("test-1.0.0")
    for version in ("1.1.0", "1.2.0"):
        store.install(maker.make(version))
    assert store.good == "test-1.0.0"
    assert [store.rollback()[0].id for _ in range(2)] == ["test-1.1.0", "test-1.0.0"]
    assert store.active == store.good == "test-1.0.0"


def test_what_was_left_behind_is_not_gone_back_to(store, maker):
    store.install(maker.make("1.0.0"))
    store.install(maker.make("1.1.0"))
    store.mark_good("test-1.1.0")
    store.rollback()
    assert "test-1.1.0" not in (store.active, store.previous, store.good)
    store.activate("test-1.1.0")
    assert store.rollback_candidates() == ["test-1.0.0", None]


def test_back_past_one_that_is_damaged(store, maker):
    store.install(maker.make("1.0.0"))
    store.mark_good("test-1.0.0")
    for version in ("1.1.0", "1.2.0"):
        store.install(maker.make(version))
    (store.folder / "test-1.1.0" / MODEL).write_bytes(b"")
    bundle, [fault] = store.rollback()
    assert bundle.id == store.active == "test-1.0.0"
    assert "test-1.1.0/model.tflite is damaged" in fault


def test_back_where_the_active_one_is_gone(store, maker):
    store.install(maker.make("1.0.0"))
    store.install(maker.make("1.1.0"))
    shutil.rmtree(store.folder / "test-1.1.0")
    assert store.active == "test-1.1.0"
    assert store.rollback()[0].id == store.active == "test-1.0.0"


def test_back_needs_no_key(store, maker):
    store.install(maker.make("1.0.0"))
    store.install(maker.make("1.1.0"))
    shutil.rmtree(store.keys)
    assert store.rollback()[0].id == "test-1.0.0"


def test_back_to_the_one_that_ships_and_no_further(store, maker):
    skip_unless_shipped_bundle_works()
    store.install(maker.make("1.0.0"))
    assert store.rollback()[0].path == default_bundle_path()
    assert (store.active, store.previous, store.good) == (None, None, None)
    assert not os.path.lexists(store.folder / ACTIVE)
    with pytest.raises(BundleError, match=rf"there is nothing to go back to: {DEFAULT_BUNDLE}"):
        store.rollback()


def test_the_one_that_ships_can_be_chosen_and_left_again(store, maker):
    skip_unless_shipped_bundle_works()
    store.install(maker.make("1.0.0"))
    assert store.activate(DEFAULT_BUNDLE).key is None
    assert (store.active, store.previous) == (None, "test-1.0.0")
    assert store.rollback()[0].id == "test-1.0.0"


def test_the_one_that_ships_can_be_installed_signed_as_well(store, maker):
    skip_unless_shipped_bundle_works()
    copy = shutil.copytree(default_bundle_path(), maker.folder / "copy")
    sign(copy, maker.key)
    store.install(copy)
    assert store.active == DEFAULT_BUNDLE
    assert store.path(DEFAULT_BUNDLE) == store.folder / DEFAULT_BUNDLE


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from(["install", "activate", "mark", "back"]), max_size=8))
def test_going_back_always_ends(maker, steps):
    """Whatever was done before: each way back comes to an end, and every link leads to a whole bundle."""
    skip_unless_shipped_bundle_works()
    folder = Path(mkdtemp(dir=maker.folder))
    store = Store(folder / "models", maker.public.parent)
    for number, step in enumerate(steps):
        if step == "install":
            store.install(maker.make(f"1.{number}.0"))
        elif step == "activate":
            store.activate([*store.installed(), DEFAULT_BUNDLE][0], allow_downgrade=True)
        elif step == "mark":
            store.mark_good(store.active)
        elif store.rollback_candidates():
            store.rollback()
        for name in (store.active, store.previous, store.good):
            load_bundle(store.path(name))
    for _ in range(4):
        if store.rollback_candidates():
            store.rollback()
    assert (store.active, store.rollback_candidates()) == (None, [])
    shutil.rmtree(folder)


def test_only_the_active_one_can_be_marked_good(store, maker):
    store.install(maker.make("1.0.0"))
    store.install(maker.make("1.1.0"))
    with pytest.raises(BundleError, match=r"test-1\.0\.0 is not the active one any more"):
        store.mark_good("test-1.0.0")
    store.mark_good("test-1.1.0")
    assert store.good == "test-1.1.0"


def test_what_is_not_here_cannot_be_activated(store, maker):
    store.install(maker.make("1.0.0"))
    for name in ("test-9.0.0", "..", "active", "", "/etc", "../models/test-1.0.0", "x" * 300):
        with pytest.raises(BundleError, match=r"on this board; it has test-1\.0\.0, tonelight-"):
            store.activate(name)


def test_a_folder_in_place_of_the_link_is_not_lost(store, maker):
    store.install(maker.make("1.0.0"))
    (store.folder / ACTIVE).unlink()
    (store.folder / ACTIVE).mkdir()
    for change in (lambda: store.install(maker.make("1.1.0")), store.rollback):
        with pytest.raises(BundleError, match=r"models/active is not a link; remove it, then `tonelight model"):
            change()


def test_a_file_in_place_of_a_bundle(store, maker):
    store.folder.mkdir(parents=True)
    (store.folder / "test-1.0.0").write_text("mine")
    with pytest.raises(BundleError, match=r"test-1\.0\.0 is in the way; remove it"):
        store.install(maker.make("1.0.0"))
    assert (store.folder / "test-1.0.0").read_text() == "mine"


def test_a_link_made_by_hand_is_replaced(store, maker, tmp_path):
    store.folder.mkdir(parents=True)
    (store.folder / ACTIVE).symlink_to(maker.make("3.0.0"))
    store.install(maker.make("1.0.0"))
    assert store.active == "test-1.0.0"


# The disk -------------------------------------------------------------------------------------------------------------


def test_a_full_disk(maker, tmp_path):
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "x", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("this system lets no ordinary user mount a small disk (unshare -rm)")
    bundle = maker.make("1.0.0")
    n_bytes = (bundle / MODEL).stat().st_size // 2
    script = (
        'mount -t tmpfs -o size="$1" x "$STATE_DIRECTORY"; "$2" -m edge model install "$3"; echo "status $?"; '
        'ls -A "$STATE_DIRECTORY/models"; mount -o remount,size=64m "$STATE_DIRECTORY"; '
        '"$2" -m edge model install "$3"; echo "status $?"; ls -A "$STATE_DIRECTORY/models"'
    )
    # not below what is mounted, which hides it
    etc, disk = tmp_path / "etc", tmp_path / "disk"
    disk.mkdir()
    (etc / "keys").mkdir(parents=True)
    shutil.copy(maker.public, etc / "keys")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(n_bytes), sys.executable, str(bundle)],
        env=os.environ | {"STATE_DIRECTORY": str(disk), "CONFIGURATION_DIRECTORY": str(etc)},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert lines[:2] == ["status 1", ".lock"], done
    assert done.stderr.startswith("tonelight: no space left for bundles in ") and done.stderr.count("\n") == 1
    assert lines[2].startswith("installed and active: test-1.0.0, signed by ")
    assert lines[-4:] == ["status 0", ".lock", "active", "test-1.0.0"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_state_folder_that_may_not_be_written(store, maker):
    store.folder.parent.mkdir()
    store.folder.parent.chmod(0o500)
    with pytest.raises(BundleError, match=r"Permission denied; try again with sudo"):
        store.install(maker.make("1.0.0"))


# Several at once ------------------------------------------------------------------------------------------------------


def test_the_second_one_is_told_to_wait(store, maker, monkeypatch):
    monkeypatch.setattr("edge.store.LOCK_S", 0.0)
    store.install(maker.make("1.0.0"))
    before = contents(store)
    with (store.folder / ".lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for change in (
            lambda: store.install(maker.make("1.1.0")),
            lambda: store.activate("test-1.0.0"),
            store.rollback,
            lambda: store.mark_good("test-1.0.0"),
        ):
            with pytest.raises(BundleError, match=r"another tonelight is changing the bundles in .*; try again"):
                change()
        assert store.installed() == ["test-1.0.0"]
    assert contents(store) == before
    store.install(maker.make("1.1.0"))


def while_locked(store: Store, monkeypatch: pytest.MonkeyPatch, ends: Callable[[], object]) -> None:
    """Another change is being made until somebody has waited for it twice; `ends` is how it ends."""
    lock = (store.folder / ".lock").open("rb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    naps = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            lock.close()
            ends()

    monkeypatch.setattr("edge.store.time.sleep", sleep)


@pytest.mark.parametrize("change", ["install", "activate", "rollback"])
def test_whoever_asks_for_a_change_waits_for_another_one(change, store, maker, monkeypatch):
    for version in ("1.0.0", "1.1.0"):
        store.install(maker.make(version))
    while_locked(store, monkeypatch, lambda: None)
    if change == "install":
        store.install(maker.make("1.2.0"))
    elif change == "activate":
        store.activate("test-1.0.0", allow_downgrade=True)
    else:
        store.rollback()
    assert store.active == {"install": "test-1.2.0"}.get(change, "test-1.0.0")


def test_back_while_the_board_goes_back_by_itself(store, maker, monkeypatch):
    store.install(maker.make("1.0.0"))
    store.mark_good("test-1.0.0")
    store.install(maker.make("1.1.0"))
    while_locked(store, monkeypatch, store.give_up)
    with pytest.raises(BundleError, match=r"test-1\.1\.0 was left meanwhile, and test-1\.0\.0 is active"):
        store.rollback()
    assert (store.active, store.failed) == ("test-1.0.0", "test-1.1.0")


def test_the_daemon_waits_for_nobody(store, maker, monkeypatch):
    store.install(maker.make("1.0.0"))
    while_locked(store, monkeypatch, lambda: None)
    for change in (lambda: store.mark_good("test-1.0.0"), lambda: store.count_start(1), store.give_up):
        with pytest.raises(BundleError, match="another tonelight is changing"):
            change()


PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["edge.store"])


def test_many_at_once(store, maker, tmp_path):
    sources = [maker.make("1.0.0", name=f"n{number}") for number in range(6)]
    processes = [
        PROCESSES.Process(target=_install, args=(store, source, tmp_path / f"{source.name}.told")) for source in sources
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    told = [(tmp_path / f"{source.name}.told").read_text() for source in sources]
    assert told == [""] * len(sources)
    assert len(store.installed()) == N_KEPT + 2  # the active one and the one before
    assert store.active in store.installed()


def _install(store: Store, source: Path, told: Path) -> None:
    try:
        store.install(source)
        told.write_text("")
    except BundleError as error:
        told.write_text(str(error))


# Killed ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy_store(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store in which everything happens: one is good, one before the active one, and the next install prunes."""
    store = Store(tmp_path_factory.mktemp("busy") / "state" / "models", maker.public.parent)
    store.install(maker.make("1.0.0"))
    store.mark_good("test-1.0.0")
    store.install(maker.make("1.2.0", name="other"))
    for minor in range(1, N_KEPT + 2):
        store.install(maker.make(f"1.{minor}.0"))
    yield store


def check_that_a_board_starts(store: Store) -> None:
    """What a board does when it starts, and what it may have to go back to; then: no bundle is half there."""
    load_bundle(store.path(store.active) if store.active is None else store.folder / ACTIVE)
    for name in (store.previous, store.good, *store.installed()):
        load_bundle(store.path(name))


def _killed_at(step: int, folder: Path, change: str, argument: object, store: Store) -> None:
    """Make `change`, and die without notice before the `step`-th thing done to anything in `folder`."""
    n_left = step

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal n_left
        is_change = event.startswith("os.") or (event == "open" and arguments[1] not in ("r", "rb"))
        if is_change and event != "os.scandir" and str(arguments[0]).startswith(str(folder)):
            n_left -= 1
            if n_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    getattr(store, change)(*([] if argument is None else [argument]))


@pytest.mark.slow
@pytest.mark.parametrize("change", ["install", "mend", "activate", "rollback", "mark_good", "give_up", "count_start"])
def test_killed_before_each_single_step(change, busy_store, maker, tmp_path):
    """Not at some moments, but at all of them: before every file, link and folder that the change makes or removes."""
    active, new, source = busy_store.active, "test-2.0.0", maker.make("2.0.0")
    argument, after = {
        "install": (source, new),
        "mend": (source, new),
        "activate": ("other-1.2.0", "other-1.2.0"),
        "rollback": (None, busy_store.previous),
        "mark_good": (active, active),
        "give_up": (None, busy_store.good),
        "count_start": (2, active),
    }[change]
    steps = 0
    while True:
        steps += 1
        folder = tmp_path / str(steps)
        shutil.copytree(busy_store.folder.parent, folder, symlinks=True)
        store = Store(folder / "models", busy_store.keys)
        if change == "mend":
            store.install(source)
            (store.folder / new / MODEL).write_bytes(b"")
            store.activate(active, allow_downgrade=True)
        method = "install" if change == "mend" else change
        process = PROCESSES.Process(target=_killed_at, args=(steps, folder, method, argument, store))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        assert store.active in ((active, after) if process.exitcode else (after,))
        assert load_bundle(store.folder / ACTIVE).id == store.active
        if change != "mend":  # the damaged one stays damaged until it is mended
            check_that_a_board_starts(store)
        store.install(source)
        check_that_a_board_starts(store)
        assert store.active == new
        assert not [name for name in names(store) if name.startswith((".incoming", ".removed"))]
        shutil.rmtree(folder)
        if process.exitcode == 0:
            break
    least = {"install": 30, "mend": 30, "activate": 5, "rollback": 5, "mark_good": 3, "give_up": 6, "count_start": 3}
    assert steps > least[change]


def _change_for_ever(store: Store, sources: list[Path], seed: int) -> None:
    rng = random.Random(seed)
    while True:
        what = rng.randrange(4)
        if what == 0 and store.rollback_candidates() != [None]:
            store.rollback()
        elif what == 1:
            store.activate(rng.choice(store.installed()), allow_downgrade=True)
        elif what == 2:
            store.mark_good(store.active)
        else:
            try:
                store.install(rng.choice(sources))
            except BundleError as error:
                assert "is older than" in str(error)


@pytest.mark.slow
def test_killed_at_any_moment(busy_store, maker, tmp_path):
    shutil.copytree(busy_store.folder.parent, tmp_path / "state", symlinks=True)
    store = Store(tmp_path / "state" / "models", busy_store.keys)
    sources = [maker.make("1.0.0", name=f"k{number}") for number in range(8)]
    rng = random.Random(7)
    for seed in range(40):
        process = PROCESSES.Process(target=_change_for_ever, args=(store, sources, seed))
        process.start()
        time.sleep(rng.uniform(0.02, 1.0))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        check_that_a_board_starts(store)
    store.install(maker.make("1.0.1", name="k0"))
    assert store.active == "k0-1.0.1"
    store.verify(store.folder / ACTIVE)
    assert len(store.installed()) <= N_KEPT + 3
