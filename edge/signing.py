"""Whose bundles a board accepts: Ed25519 signatures over manifests, and the public keys that the board was given.

    manifest.sig     {"schema": "tonelight-signature/1", "key": KEY_ID, "signature": HEX}
    NAME.pub         tonelight-ed25519 BASE64 COMMENT

The signature is over the exact bytes of `manifest.json`, which holds the hash of every other file. A key's id is the
first 8 bytes of the SHA-256 of its 32 bytes, in hex. No key is built in: a board trusts the `*.pub` files in its
`keys_dir`, and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import os
import shlex
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import platformdirs

from edge.config import SYSTEM_CONFIG
from edge.digest import sha256_hex
from edge.errors import BundleError, one_line

SIGNATURE: Final = "manifest.sig"
SIGNATURE_SCHEMA: Final = "tonelight-signature/1"
KEY_TYPE: Final = "tonelight-ed25519"
_MAX_BYTES: Final = 4096
"""No signature and no public key is longer."""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `manifest.sig`."""

    schema: Literal["tonelight-signature/1"]
    key: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
    signature: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}\Z")]


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked with: its 32 bytes, and what its owner wrote beside them."""

    raw: bytes
    comment: str

    @property
    def id(self) -> str:
        """16 hex digits."""
        return sha256_hex(self.raw)[:16]

    def __str__(self) -> str:
        return f"{self.id} ({self.comment})" if self.comment else self.id

    def line(self) -> str:
        """The content of a `.pub` file."""
        return f"{KEY_TYPE} {base64.b64encode(self.raw).decode()} {self.comment}".rstrip() + "\n"

    def has_signed(self, content: bytes, signature: bytes) -> bool:
        """Whether `signature` (64 bytes) is this key's signature of `content`."""
        # late: 6 MB of memory, and a daemon checks signatures once in months if ever
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, content)
        except InvalidSignature:
            return False
        return True


def keys_dir() -> Path:
    """The folder of trusted public keys: systemd's, root's, or the user's own."""
    given = os.environ.get("CONFIGURATION_DIRECTORY")
    if given:
        return Path(given.split(":")[0]) / "keys"
    if os.geteuid() == 0:
        return SYSTEM_CONFIG.parent / "keys"
    return platformdirs.user_config_path("tonelight", appauthor=False) / "keys"


def how_to_trust(folder: Path) -> str:
    """The command that gives the board a key, for errors."""
    sudo = "sudo " if os.geteuid() == 0 else ""
    return f"`{sudo}install -D -m 644 -t {shlex.quote(str(folder))} KEY.pub`"


def read_public_key(path: Path) -> PublicKey:
    """Read a `.pub` file.

    Raises:
        BundleError: it cannot be read, or holds no public key.
    """
    content = _read_small(path)
    try:
        kind, key, *comment = content.decode("utf-8").rstrip("\n").split(" ", 2)
        raw = base64.b64decode(key, validate=True)
        words = "".join(comment)
        if kind == KEY_TYPE and len(raw) == 32 and words.isprintable():
            return PublicKey(raw, words)
    except (UnicodeDecodeError, ValueError, binascii.Error):
        pass
    raise BundleError(f"{path} is not a public key as `tonelight-train keygen` writes it; replace or remove it")


def trusted_keys(folder: Path) -> dict[str, PublicKey]:
    """The keys in the `*.pub` files of `folder` by their ids; none where there is no such folder.

    Raises:
        BundleError: the folder or one of the files cannot be used.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".pub")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BundleError(f"{folder} cannot be read: {error.strerror}; check its owner and mode") from None
    return {key.id: key for key in map(read_public_key, files)}


def check_signature(bundle: Path, manifest: bytes, signature: bytes | None, keys: Mapping[str, PublicKey]) -> PublicKey:
    """Return which of `keys` has signed `manifest`, the bytes of the manifest of `bundle`.

    `signature` is the content of its `manifest.sig`, None where it has none.

    Raises:
        BundleError: there is no signature, it is damaged, not of this manifest, or not by one of `keys`; the line says
            how a key comes to be trusted.
    """
    if signature is None:
        raise BundleError(
            f"bundle {bundle} is not signed; where it was made: `tonelight-train sign BUNDLE --key FILE`, "
            f"and here, once: {how_to_trust(keys_dir())}"
        )
    try:
        parsed = msgspec.json.decode(signature, type=Signature)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{bundle / SIGNATURE}: {one_line(error)}; sign the bundle again: `tonelight-train sign`"
        ) from None
    key = keys.get(parsed.key)
    if key is None:
        raise BundleError(
            f"bundle {bundle} is signed by key {parsed.key}, which this board was not given ({_given(keys.values())}); "
            f"if you trust its owner: {how_to_trust(keys_dir())}"
        )
    if not key.has_signed(manifest, bytes.fromhex(parsed.signature)):
        raise BundleError(
            f"bundle {bundle}: its manifest is not the one that key {key} signed; "
            "get the bundle again, or sign it again: `tonelight-train sign`"
        )
    return key


def _given(keys: Iterable[PublicKey]) -> str:
    return "it has " + (", ".join(map(str, keys)) or "none yet")


def _read_small(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe might never end
            raise BundleError(f"{path} is not a file; replace or remove it")
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from None
