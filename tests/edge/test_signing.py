"""Only what one of the board's own keys signed is accepted; everything else is refused in one line with the way out."""

import base64
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge import signing
from edge.config import SYSTEM_CONFIG
from edge.errors import BundleError
from edge.signing import PublicKey, check_signature, keys_dir, read_public_key, trusted_keys

SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = PublicKey(SECRET.public_key().public_bytes_raw(), "anna@laptop")
OTHER = PublicKey(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw(), "")
MANIFEST = b'{"any": "bytes"}'
SIGNATURE = {"schema": "tonelight-signature/1", "key": KEY.id, "signature": SECRET.sign(MANIFEST).hex()}
BUNDLE = Path("models/test-1.0.0")


def check(signature: object, manifest: bytes = MANIFEST, keys: tuple[PublicKey, ...] = (OTHER, KEY)) -> PublicKey:
    content = signature if isinstance(signature, bytes) else json.dumps(signature).encode()
    return check_signature(BUNDLE, manifest, content, {key.id: key for key in keys})


def refused(*args, **kwargs) -> str:
    with pytest.raises(BundleError) as caught:
        check(*args, **kwargs)
    line = str(caught.value)
    assert len(line.splitlines()) == 1 and str(BUNDLE) in line
    return line


# Signatures -----------------------------------------------------------------------------------------------------------


def test_the_first_test_vector_of_rfc_8032():
    key = PublicKey(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"), "")
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b"
    )
    assert key.has_signed(b"", signature)
    assert not key.has_signed(b"\0", signature)
    assert not key.has_signed(b"", bytes(64))
    assert not key.has_signed(b"", signature[:63])


def test_what_a_trusted_key_signed_is_accepted():
    assert check(SIGNATURE) == KEY


def test_unsigned():
    with pytest.raises(BundleError, match=r"is not signed; .*`tonelight-train sign .*install -D .*/keys KEY.pub`"):
        check_signature(BUNDLE, MANIFEST, None, {KEY.id: KEY})


def test_signed_by_somebody_else_says_who_is_trusted_and_how_to_trust():
    line = refused(SIGNATURE, keys=(OTHER,))
    assert KEY.id in line and OTHER.id in line and f"-t {keys_dir()} KEY.pub" in line
    assert "it has none yet" in refused(SIGNATURE, keys=())


def test_the_name_of_a_trusted_key_under_the_signature_of_another():
    assert "is not the one that key" in refused(SIGNATURE | {"key": OTHER.id})


@pytest.mark.parametrize("place", range(len(MANIFEST)))
def test_every_byte_of_the_manifest_is_signed(place):
    changed = bytearray(MANIFEST)
    changed[place] ^= 1
    assert f"is not the one that key {KEY.id} (anna@laptop) signed" in refused(SIGNATURE, bytes(changed))


@pytest.mark.parametrize("place", range(64))
def test_every_byte_of_the_signature_counts(place):
    changed = bytearray.fromhex(SIGNATURE["signature"])
    changed[place] ^= 1
    refused(SIGNATURE | {"signature": changed.hex()})


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "tonelight-signature/2"},
        {"key": KEY.id.upper()},
        {"key": KEY.id + "\n"},
        {"signature": SIGNATURE["signature"][:-2]},
        {"signature": SIGNATURE["signature"] + "\n"},
        {"signature": None},
        {"more": 1},
    ],
)
def test_the_file_is_read_strictly(change):
    assert "manifest.sig: " in refused(SIGNATURE | change)


@pytest.mark.parametrize("length", [0, 1, 40, len(json.dumps(SIGNATURE)) - 1])
def test_a_truncated_file(length):
    assert "manifest.sig: " in refused(json.dumps(SIGNATURE).encode()[:length])


@given(st.binary(max_size=300))
def test_garbage(content):
    refused(content)


# Keys -----------------------------------------------------------------------------------------------------------------


def test_a_key_file_is_one_line_and_reads_back(tmp_path):
    for key in (KEY, OTHER, PublicKey(KEY.raw, "Anna's key, of the laptop – 2026")):
        (tmp_path / "a.pub").write_text(key.line())
        assert key.line().count("\n") == 1
        assert read_public_key(tmp_path / "a.pub") == key


def test_a_key_id_is_the_begin_of_its_hash():
    # echo -n | sha256sum of the 32 bytes
    assert OTHER.raw.hex() == "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
    assert OTHER.id == "139e3940e64b5491"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"tonelight-ed25519",
        b"tonelight-ed25519 AAAA short",
        b"tonelight-ed25519 " + base64.b64encode(bytes(33)) + b" long",
        b"tonelight-ed25519 " + base64.b64encode(bytes(31)) + b"!! x",
        b"ssh-ed25519 " + base64.b64encode(bytes(32)) + b" x",
        KEY.line().encode() + OTHER.line().encode(),
        KEY.line().encode()[:-1] + b"\x1b[31m",
        KEY.line().encode()[:-1] + b"\xff",
        b"-----BEGIN PRIVATE KEY-----\n",
        bytes(100_000),
    ],
)
def test_what_is_no_key_is_named(content, tmp_path):
    (tmp_path / "b.pub").write_bytes(content)
    with pytest.raises(BundleError, match=r"b\.pub is not a public key .*; replace or remove it$"):
        trusted_keys(tmp_path)


def test_only_pub_files_are_trusted(tmp_path):
    (tmp_path / "a.pub").write_text(KEY.line())
    (tmp_path / "b.pub.off").write_text(OTHER.line())
    (tmp_path / "README").write_text("keys of this board")
    assert trusted_keys(tmp_path) == {KEY.id: KEY}


def test_without_a_folder_nobody_is_trusted(tmp_path):
    assert trusted_keys(tmp_path / "keys") == {}


def test_a_pipe_or_a_folder_is_no_key(tmp_path):
    os.mkfifo(tmp_path / "a.pub")
    with pytest.raises(BundleError, match=r"a\.pub is not a file; replace or remove it"):
        trusted_keys(tmp_path)
    (tmp_path / "a.pub").unlink()
    (tmp_path / "b.pub").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"b\.pub cannot be read: No such file"):
        trusted_keys(tmp_path)
    with pytest.raises(BundleError, match=r"b cannot be read: Not a directory"):
        (tmp_path / "b").write_text("")
        trusted_keys(tmp_path / "b")


def test_where_keys_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", "/run/etc/tonelight:/other")
    assert keys_dir() == Path("/run/etc/tonelight/keys")
    monkeypatch.delenv("CONFIGURATION_DIRECTORY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert keys_dir() == tmp_path / "tonelight" / "keys"
    assert "`install -D" in signing.how_to_trust(keys_dir())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert keys_dir() == SYSTEM_CONFIG.parent / "keys"
    assert "`sudo install -D" in signing.how_to_trust(keys_dir())
