"""Passwords and tokens: from a file that not everybody can read, or from the credentials systemd hands a service."""

from __future__ import annotations

import os
from pathlib import Path

from edge.errors import ConfigError


def read_secret(key: str, path: str, credential: str) -> str | None:
    """The text in the file `path`, which is the value of `key` in the configuration, without the end of its line.

    Without a path, the credential of that name (`LoadCredential=` in the unit), or None where the service has none.

    Raises:
        ConfigError: the file cannot be read, is empty, or everybody on this machine can read it.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    file = Path(path) if path else Path(folder) / credential
    if not path and not (folder and file.exists()):
        return None
    try:
        if path and file.stat().st_mode & 0o007:
            raise ConfigError(f"{key} = {file}: everybody on this machine can read it; `chmod o= {file}` ends that")
        secret = file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{key} = {file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key} = {file}: expected one line of text in UTF-8") from None
    if not secret or "\n" in secret:
        raise ConfigError(f"{key} = {file}: expected one line of text, and not an empty one")
    return secret
