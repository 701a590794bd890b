"""What the workstation signs, the board accepts; keys are never lost, shown or overwritten."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from edge.bundle import MANIFEST, MODEL, default_bundle_path
from edge.errors import BundleError
from edge.signing import SIGNATURE, check_signature, read_public_key
from train_host.cli import main
from train_host.errors import ExportError
from train_host.signing import keygen, read_private_key, sign


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    if not default_bundle_path().is_dir():
        pytest.skip(f"{default_bundle_path()} is not there: nothing to sign")
    return shutil.copytree(default_bundle_path(), tmp_path / "test-1.0.0")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_pair_of_keys(tmp_path):
    before = os.umask(0)
    try:
        secret, public = keygen(tmp_path / "new" / "keys")
    finally:
        os.umask(before)
    assert (secret.parent, public) == (tmp_path / "new" / "keys", secret.with_suffix(".pub"))
    assert (mode(secret), mode(public), mode(secret.parent)) == (0o600, 0o644, 0o700)
    assert read_public_key(public).raw == read_private_key(secret).public_key().public_bytes_raw()
    assert read_public_key(public).comment.startswith(secret.stem + "@")


def test_two_keys_are_not_alike(tmp_path):
    assert keygen(tmp_path / "a")[1].read_bytes() != keygen(tmp_path / "b")[1].read_bytes()


@pytest.mark.parametrize("lost", [".pub", ".key"])
def test_a_key_is_not_overwritten(lost, tmp_path):
    pair = keygen(tmp_path)
    [kept] = [path for path in pair if path.suffix != lost]
    (tmp_path / f"{kept.stem}{lost}").unlink()
    before = kept.read_bytes()
    with pytest.raises(ExportError, match=r"exists and is not overwritten; name another folder by --out"):
        keygen(tmp_path)
    assert [(path, path.read_bytes()) for path in tmp_path.iterdir()] == [(kept, before)]


def test_openssl_reads_the_key_and_agrees_with_the_signature(bundle, tmp_path):
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("needs openssl")
    secret, _ = keygen(tmp_path / "keys")
    sign(bundle, secret)
    signature = tmp_path / "raw"
    signature.write_bytes(bytes.fromhex(json.loads((bundle / SIGNATURE).read_text())["signature"]))
    done = subprocess.run(
        [openssl, "pkeyutl", "-verify", "-rawin", "-inkey", secret, "-in", bundle / MANIFEST, "-sigfile", signature],
        capture_output=True,
        text=True,
    )
    assert "Signature Verified Successfully" in done.stdout, done.stderr


def test_what_is_signed_is_accepted_and_nothing_else_is_written(bundle, tmp_path):
    secret, public = keygen(tmp_path / "keys")
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    signer = sign(bundle, secret)
    after = {path.name: path.read_bytes() for path in bundle.iterdir()}
    signature = after.pop(SIGNATURE)
    assert after == before
    assert mode(bundle / SIGNATURE) == 0o644
    key = read_public_key(public)
    assert signer.raw == key.raw
    assert check_signature(bundle, before[MANIFEST], signature, {key.id: key}) == key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys", bundle.name]


def test_signing_again_replaces_the_signature(bundle, tmp_path):
    first, second = keygen(tmp_path / "a"), keygen(tmp_path / "b")
    sign(bundle, first[0])
    once = (bundle / SIGNATURE).read_bytes()
    sign(bundle, first[0])
    assert (bundle / SIGNATURE).read_bytes() == once
    sign(bundle, second[0])
    key = read_public_key(second[1])
    check_signature(bundle, (bundle / MANIFEST).read_bytes(), (bundle / SIGNATURE).read_bytes(), {key.id: key})


def test_a_damaged_bundle_is_not_signed(bundle, tmp_path):
    secret, _ = keygen(tmp_path / "keys")
    (bundle / MODEL).write_bytes(b"other")
    with pytest.raises(BundleError, match=r"model\.tflite is damaged or was changed"):
        sign(bundle, secret)
    with pytest.raises(BundleError, match=r"nowhere does not exist"):
        sign(tmp_path / "nowhere", secret)
    assert not (bundle / SIGNATURE).exists()


def test_what_is_no_private_key(bundle, tmp_path):
    _, public = keygen(tmp_path / "keys")
    other = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    locked = read_private_key(public.with_suffix(".key")).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    file = tmp_path / "some.key"
    for content in (public.read_bytes(), other, locked, b"", bytes(10_000)):
        file.write_bytes(content)
        with pytest.raises(ExportError, match=r"some\.key is not a private key as .*\(the \.key, not the \.pub\)"):
            sign(bundle, file)
    with pytest.raises(ExportError, match=r"gone\.key cannot be read: No such file.*; `tonelight-train keygen`"):
        sign(bundle, tmp_path / "gone.key")


def test_the_commands(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["keygen", "--out", "keys"]) == 0
    told = capsys.readouterr().out
    [secret] = (tmp_path / "keys").glob("*.key")
    assert f"keys/{secret.name}" in told and f"keys/{secret.stem}.pub" in told
    assert "PRIVATE" not in told
    monkeypatch.chdir(bundle)
    assert main(["sign", ".", "--key", str(secret)]) == 0
    assert read_public_key(secret.with_suffix(".pub")).id in capsys.readouterr().out
    assert (bundle / SIGNATURE).exists()
    assert main(["sign", ".", "--key", "none.key"]) == 1
    assert capsys.readouterr().err.startswith("tonelight-train: none.key cannot be read")
    assert main(["keygen", "--out", str(secret.parent)]) == 1
    assert "is not overwritten" in capsys.readouterr().err


def test_without_out_keys_go_where_the_configuration_is(tmp_path):
    env = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "train_host.cli", "keygen"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.suffix for path in (tmp_path / "tonelight" / "signing").iterdir()) == [".key", ".pub"]
