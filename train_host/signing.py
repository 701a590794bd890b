"""Keys that sign bundles, and signatures: the workstation's half of `edge.signing`."""

from __future__ import annotations

import getpass
import os
import re
import socket
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.bundle import load_bundle, read_manifest
from edge.signing import SIGNATURE, SIGNATURE_SCHEMA, PublicKey, Signature
from train_host.errors import ExportError

_MAX_BYTES: Final = 4096


def keygen(folder: Path) -> tuple[Path, Path]:
    """Make a key pair in `folder`: `USER.key`, secret and readable by its owner only, and `USER.pub` for the boards.

    Returns both paths. Raises ExportError where one of the files exists: a lost key cannot be made again.
    """
    user = _user()
    secret, public = folder / f"{user}.key", folder / f"{user}.pub"
    for path in (secret, public):
        if os.path.lexists(path):
            raise ExportError(f"{path} exists and is not overwritten; name another folder by --out")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_new(secret, pem, 0o600)
    _write_new(public, public_key(key, f"{user}@{socket.gethostname()}").line().encode(), 0o644)
    return secret, public


def public_key(key: Ed25519PrivateKey, comment: str = "") -> PublicKey:
    """What a board checks signatures of `key` with."""
    return PublicKey(key.public_key().public_bytes_raw(), comment)


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a `.key` file; ExportError where it cannot be read or holds no such key."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES)
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}; `tonelight-train keygen` makes a key") from None
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ExportError(f"{path} is not a private key as `tonelight-train keygen` writes it (the .key, not the .pub)")
    return key


def sign(bundle: Path, key_file: Path) -> PublicKey:
    """Sign the whole and undamaged bundle in folder `bundle`; return the key that boards need to accept it.

    An earlier signature is replaced. Raises BundleError for a bundle that cannot be used, ExportError for such a key.
    """
    key = read_private_key(key_file)
    bundle = bundle.absolute()
    manifest = read_manifest(bundle)
    load_bundle(bundle)
    signer = public_key(key)
    signature = Signature(schema=SIGNATURE_SCHEMA, key=signer.id, signature=key.sign(manifest).hex())
    with NamedTemporaryFile(dir=bundle.parent, prefix=f".{bundle.name}-", delete=False) as file:
        draft = Path(file.name)
        try:
            file.write(msgspec.json.format(msgspec.json.encode(signature), indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
            draft.chmod(0o644)
            draft.replace(bundle / SIGNATURE)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    return signer


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _user() -> str:
    """Who signs, as a file name: keys of several people lie beside each other on a board."""
    try:
        return re.sub(r"[^\w.-]", "_", getpass.getuser()).lstrip(".-") or "signing"
    except (KeyError, OSError):  # a user without a name
        return "signing"
