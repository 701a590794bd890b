"""Strict, explained, and the same after a round trip."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import config
from edge.config import AudioSettings, Config, HistorySettings
from edge.errors import ConfigError


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return file


def complaint(tmp_path: Path, text: str) -> str:
    """The one line that a file with this text earns; it always names the file."""
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{file}: ")
    return line.removeprefix(f"{file}: ")


def test_an_empty_file_is_all_defaults(tmp_path):
    assert config.load(written(tmp_path, "")) == Config()


def test_every_table_is_read(tmp_path):
    loaded = config.load(
        written(
            tmp_path,
            """
            node = "kitchen"
            stop_after_silence_s = 5
            [audio]
            device = "USB"
            block_ms = 50
            [history]
            enabled = false
            path = "/data/h.db"
            max_mb = 1
            max_days = 7
            """,
        )
    )
    assert (loaded.node, loaded.stop_after_silence_s) == ("kitchen", 5.0)
    assert loaded.audio == AudioSettings(device="USB", block_ms=50)
    assert loaded.history == HistorySettings(enabled=False, path="/data/h.db", max_mb=1, max_days=7)


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    file = tmp_path / "config.toml"
    file.write_bytes(b'\xef\xbb\xbfnode = "a"\n')
    assert config.load(file).node == "a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nodde = 'a'", "unknown key nodde (did you mean node?); the top level allows node, stop_after_silence_s, "),
        ("[audio]\nblok_ms = 20", "unknown key audio.blok_ms (did you mean audio.block_ms?); [audio] allows device, b"),
        ("[audio]\nBLOCK_MS = 20", "unknown key audio.BLOCK_MS (did you mean audio.block_ms?)"),
        ("device = 'USB'", "unknown key device (did you mean audio.device?)"),
        ("[audio]\nmax_days = 3", "unknown key audio.max_days (did you mean history.max_days?)"),
        ("[adio]\ndevice = 'USB'", "unknown key adio (did you mean audio?)"),
        ("[zzz]", "unknown key zzz; the top level allows node, "),
        ("[audio]\nblock_ms = '20'", 'audio.block_ms = "20": expected a whole number from 5 to 150'),
        ("[audio]\nblock_ms = 4", "audio.block_ms = 4: expected a whole number from 5 to 150"),
        ("[audio]\nblock_ms = 151", "audio.block_ms = 151: expected a whole number from 5 to 150"),
        ("[audio]\nblock_ms = 20.5", "audio.block_ms = 20.5: expected a whole number from 5 to 150"),
        ("[audio]\nblock_ms = true", "audio.block_ms = true: expected a whole number from 5 to 150"),
        ("[audio]\ndevice = 3", "audio.device = 3: expected text in quotes"),
        ("[audio]\ndevice = 2026-01-01", "audio.device = 2026-01-01: expected text in quotes"),
        ("audio = 3", "audio = 3: expected a table, written [audio]"),
        ("stop_after_silence_s = -1", "stop_after_silence_s = -1: expected a number from 0 to 86400"),
        ("stop_after_silence_s = nan", "stop_after_silence_s = nan: expected a number from 0 to 86400"),
        ("stop_after_silence_s = inf", "stop_after_silence_s = inf: expected a number from 0 to 86400"),
        ("[history]\nenabled = 1", "history.enabled = 1: expected true or false"),
        ("[history]\nmax_mb = 0", "history.max_mb = 0: expected a whole number from 1 to 100000"),
        ("[history]\nmax_days = 0", "history.max_days = 0: expected a whole number from 1 to 36500"),
        ("node = [1, 2]", "node = [1, 2]: expected text in quotes of at most 64 characters"),
        (
            "[leds]\nkind = 'rbg'",
            'leds.kind = "rbg": expected one of "apa102", "kernel", "lines", "neopixel", "none", "pins", '
            '"rgb", "terminal" (did you mean "rgb"?)',
        ),
        ("[leds]\nkind = 'rgb'\npins = {red = 99, green = 27, blue = 22}", "leds.pins.red = 99: there is no GPIO 99"),
        (
            "[leds]\nkind = 'pins'\npins = {happy = 'GPIO17'}",
            'leds.pins = { "happy" = "GPIO17" }: expected a table',
        ),
        ("[leds]\ncolours = {happy = 'yellow'}", "leds.colours.happy: 'yellow' is not a colour: write "),
        ("[history]\npath = '~nosuchuser/h.db'", 'history.path = "~nosuchuser/h.db": there is no such user; write the'),
        ('[model]\nbundle = "a\\u0000b"', 'model.bundle = "a\\u0000b": expected a path of printable characters'),
        ('"a\\nb" = 1', 'unknown key "a\\nb"; the top level allows node'),
        ('[mqtt]\nenabled = "\\u2028\\u007f"', 'mqtt.enabled = "\\U00002028\\U0000007f": expected true or false'),
        ('[web]\nhost = "a\\nb"', 'web.host: "a b" is no address: '),
        (f"node = {'9' * 5000}", "a number has too many digits"),
        (f"node = {'[' * 5000}{']' * 5000}", "lists or tables are nested too deeply"),
        ("[audio\n", "not valid TOML: "),
        ("node = 'a'\nnode = 'b'", "not valid TOML: "),
    ],
)
def test_a_mistake_is_named_with_its_key_and_the_way_out(tmp_path, text, expected):
    assert complaint(tmp_path, text).startswith(expected)


def test_a_syntax_error_names_the_line(tmp_path):
    assert "line 2" in complaint(tmp_path, "node = 'a'\n[audio\n")


def test_a_long_value_is_cut_in_the_complaint(tmp_path):
    assert len(complaint(tmp_path, f"node = '{'a' * 5000}'")) < 200


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such file; `tonelight config show >"):
        config.load(tmp_path / "nowhere.toml")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(tmp_path)


def test_a_file_that_is_not_text(tmp_path):
    file = tmp_path / "config.toml"
    file.write_bytes(b"node = '\xff\xfe'")
    with pytest.raises(ConfigError, match="not a text file in UTF-8"):
        config.load(file)


@pytest.mark.skipif(config.SYSTEM_CONFIG.exists(), reason="this machine has a configuration of its own")
def test_the_default_file_is_the_users_own_and_need_not_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config.default_config_path() == tmp_path / "tonelight" / "config.toml"
    assert config.load() == Config()
    (tmp_path / "tonelight").mkdir()
    written(tmp_path / "tonelight", "node = 'mine'")
    assert config.load().node == "mine"


def test_relative_paths_count_from_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    text = "[history]\npath = 'log/h.db'\n[model]\nbundle = '~/b-1'\n"
    loaded = config.load(written(tmp_path, text))
    assert loaded.history_path == tmp_path / "log" / "h.db"
    assert loaded.bundle_path == Path("/home/somebody/b-1")


def test_the_state_folder_is_where_systemd_says(tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert Config().history_path == tmp_path / "history.db"


def test_the_state_folder_of_root_and_of_everybody_else(tmp_path, monkeypatch):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert config.state_dir() == (Path("/var/lib/tonelight") if os.geteuid() == 0 else tmp_path / "tonelight")


def test_the_activated_bundle_is_used_and_a_dangling_link_is_not_skipped(tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert Config().bundle_path is None
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "active").symlink_to("gone-1")
    assert Config().bundle_path == tmp_path / "models" / "gone-1"


def test_the_name_of_the_machine_is_the_default_node():
    assert Config().node_name
    assert Config(node="kitchen").node_name == "kitchen"


def test_the_defaults_survive_a_round_trip(tmp_path):
    assert config.parse(config.render(Config()), tmp_path / "c.toml") == Config()


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None, derandomize=True)
@given(
    node=text,
    silence_s=st.floats(0, 86_400),
    device=text,
    block_ms=st.integers(5, 150),
    enabled=st.booleans(),
    max_mb=st.integers(1, 100_000),
)
def test_any_configuration_survives_a_round_trip(node, silence_s, device, block_ms, enabled, max_mb):
    original = Config(
        node=node,
        stop_after_silence_s=silence_s,
        audio=AudioSettings(device=device, block_ms=block_ms),
        history=HistorySettings(enabled=enabled, max_mb=max_mb),
    )
    assert config.parse(config.render(original), Path("/c.toml")) == original


def set_keys(table: msgspec.Struct) -> Iterator[str]:
    for field in msgspec.structs.fields(type(table)):
        value = getattr(table, field.name)
        if isinstance(value, msgspec.Struct):
            yield from set_keys(value)
        elif value is not None:
            yield field.encode_name


def test_what_is_rendered_explains_every_key():
    lines = config.render(Config()).splitlines()
    keys = [number for number, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    names = {lines[number].partition(" = ")[0] for number in keys}
    assert names == set(set_keys(Config()))
    for number in keys:
        facts, meaning = lines[number - 1], lines[number - 2]
        assert facts.startswith("# (") and "default" in facts
        assert meaning.startswith("# ") and len(meaning) > 10
