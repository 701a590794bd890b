"""Passwords and tokens: which file is read, and who else may."""

import os
from pathlib import Path

import pytest

from edge.credentials import read_secret
from edge.errors import ConfigError


@pytest.fixture(autouse=True)
def no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def secret(folder: Path, content: bytes, mode: int = 0o640) -> str:
    file = folder / "secret"
    file.write_bytes(content)
    file.chmod(mode)
    return str(file)


@pytest.mark.parametrize("content", [b"pass w\xc3\xb6rd ", b"pass w\xc3\xb6rd \n", b"pass w\xc3\xb6rd \r\n"])
def test_a_line_from_a_file(content, tmp_path):
    assert read_secret("key", secret(tmp_path, content), "name") == "pass wörd "


def test_a_credential_of_the_service(monkeypatch, tmp_path):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret("key", "", "mqtt-password") is None
    # whoever may see that folder is for systemd to say
    (tmp_path / "mqtt-password").write_text("from systemd\n")
    (tmp_path / "mqtt-password").chmod(0o644)
    assert read_secret("key", "", "mqtt-password") == "from systemd"
    assert read_secret("key", secret(tmp_path, b"from a file"), "mqtt-password") == "from a file"


def test_nothing_is_none(tmp_path):
    assert read_secret("key", "", "name") is None


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (b"x", 0o644, "everybody on this machine can read it; `chmod o= "),
        (b"x", 0o602, "everybody on this machine can read it"),
        (b"\n", 0o600, "expected one line of text, and not an empty one"),
        (b"a\nb", 0o600, "expected one line of text, and not an empty one"),
        (b"\xff", 0o600, "expected one line of text in UTF-8"),
    ],
)
def test_what_cannot_be_used(content, mode, complaint, tmp_path):
    file = secret(tmp_path, content, mode)
    with pytest.raises(ConfigError) as caught:
        read_secret("mqtt.password_file", file, "name")
    assert str(caught.value).startswith(f"mqtt.password_file = {file}: {complaint}")


def test_what_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        read_secret("key", str(tmp_path / "gone"), "name")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        (tmp_path / "folder").mkdir(mode=0o700)
        read_secret("key", str(tmp_path / "folder"), "name")
    if os.geteuid() != 0:
        with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
            read_secret("key", secret(tmp_path, b"x", 0o000), "name")
