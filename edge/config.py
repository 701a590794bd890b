"""The configuration file of a device: TOML, strict, every key documented where it is declared.

What belongs to the place (microphone, light, log) is set here; what belongs to the model lives in its bundle. A file
that cannot be used is one `ConfigError` that names the file, the key and what is allowed. `render` writes a
configuration back as TOML with every key explained; `load` reads that back to the same values.
"""

from __future__ import annotations

import difflib
import json
import os
import socket
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import msgspec
import platformdirs
from msgspec import Meta, inspect

from edge.errors import ConfigError, one_line
from edge.labels import EMOTIONS
from edge.leds import LedSettings
from edge.leds.gpio import DEFAULT_RGB_PINS, HEADER_PINS
from edge.metrics import MetricsSettings
from edge.mqtt import MqttSettings
from edge.web.settings import WebSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SYSTEM_CONFIG = Path("/etc/tonelight/config.toml")
SYSTEM_STATE = Path("/var/lib/tonelight")
SYSTEM_RUNTIME = Path("/run/tonelight")


class AudioSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where sound comes from."""

    device: Annotated[
        str, Meta(description="part of the microphone's name as `tonelight devices` shows it; empty = the default one")
    ] = ""
    block_ms: Annotated[
        int,
        Meta(
            ge=5,
            le=150,  # the light moves once for each block, and no part of a pattern is shorter
            description="sound handled at a time, in milliseconds; with less, the light is as much sooner, and the "
            "processor is woken more often",
        ),
    ] = 40


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which model listens."""

    bundle: Annotated[
        str,
        Meta(description="folder of a model bundle; empty = the activated one, else the one that comes with tonelight"),
    ] = ""


class HistorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The local log of what was heard: labels and numbers, never sound."""

    enabled: Annotated[bool, Meta(description="keep a log")] = True
    path: Annotated[str, Meta(description="file of the log; empty = history.db in the state folder")] = ""
    max_mb: Annotated[int, Meta(ge=1, le=100_000, description="the log never grows beyond this, in megabytes")] = 64
    max_days: Annotated[int, Meta(ge=1, le=36_500, description="older entries are removed, in days")] = 365


class MuteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The button that mutes; `tonelight mute` does the same without one."""

    button_pin: Annotated[
        Annotated[int, Meta(ge=HEADER_PINS[0], le=HEADER_PINS[-1])] | None,
        Meta(
            description="pin of a push button to ground by its GPIO (BCM) number, for instance 17 on the ReSpeaker "
            "2-Mics HAT; each press mutes or unmutes; left out = no button",
        ),
    ] = None


class CaptureSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clips of speech to teach the light by. Only `tonelight capture on` or the page has them kept, no setting."""

    max_clips: Annotated[int, Meta(ge=1, le=1000, description="clips kept; the oldest that nobody named go first")] = (
        200
    )
    max_mb: Annotated[int, Meta(ge=1, le=10_000, description="all clips never take more than this, in megabytes")] = 50
    max_days: Annotated[int, Meta(ge=1, le=365, description="older clips are deleted, in days")] = 30
    buttons: Annotated[
        dict[str, int],
        Meta(
            description="pins of push buttons to ground by their GPIO (BCM) number, as { happy = 23, sad = 24 }; a "
            "press says that the last clip was of this emotion; empty = no buttons"
        ),
    ] = {}

    def __post_init__(self) -> None:
        """Raises:
        ValueError: a button is for no emotion, or its pin cannot be used.
        """
        for name, pin in self.buttons.items():
            if name not in EMOTIONS:
                raise ValueError(f'buttons.{name}: there is no emotion "{name}", only {", ".join(EMOTIONS)}')
            if not HEADER_PINS[0] <= pin <= HEADER_PINS[-1]:
                raise ValueError(
                    f"buttons.{name} = {pin}: expected a whole number from {HEADER_PINS[0]} to {HEADER_PINS[-1]}"
                )
            if list(self.buttons.values()).count(pin) > 1:
                raise ValueError(f"buttons.{name} = {pin}: two buttons share this pin; each needs one of its own")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set. `load` has made the paths in it absolute; an empty text means "the default"."""

    node: Annotated[
        str, Meta(max_length=64, description="name of this device in every event; empty = the name of this machine")
    ] = ""
    stop_after_silence_s: Annotated[
        float, Meta(ge=0, le=86_400, description="`run` ends after this many seconds without speech; 0 = never")
    ] = 0.0
    audio: AudioSettings = AudioSettings()
    mute: MuteSettings = MuteSettings()
    model: ModelSettings = ModelSettings()
    leds: LedSettings = LedSettings()
    history: HistorySettings = HistorySettings()
    capture: CaptureSettings = CaptureSettings()
    web: WebSettings = WebSettings()
    mqtt: MqttSettings = MqttSettings()
    metrics: MetricsSettings = MetricsSettings()

    def __post_init__(self) -> None:
        """Raises:
        ValueError: a button is to share a pin with an LED or another button.
        """
        users: dict[int, str] = {}
        if self.leds.kind != "lines":  # whose numbers are those of a chip, not of the header
            pins = self.leds.pins or (DEFAULT_RGB_PINS if self.leds.kind == "rgb" else {})
            users = {pin: f"leds.pins.{name}" for name, pin in pins.items()}
        buttons = {f"capture.buttons.{name}": pin for name, pin in self.capture.buttons.items()}
        if self.mute.button_pin is not None:
            buttons = {"mute.button_pin": self.mute.button_pin, **buttons}
        for key, pin in buttons.items():
            if pin in users:
                raise ValueError(f"{key} = {pin}: {users[pin]} uses it; choose another one")
            users[pin] = key

    @property
    def node_name(self) -> str:
        """`node`, or the name of this machine."""
        return self.node or socket.gethostname()

    @property
    def history_path(self) -> Path:
        """`history.path`, or the log in the state folder."""
        return Path(self.history.path) if self.history.path else state_dir() / "history.db"

    @property
    def bundle_path(self) -> Path | None:
        """`model.bundle`, or the activated bundle; None when neither is set and the shipped one is to be used."""
        if self.model.bundle:
            return Path(self.model.bundle)
        active = state_dir() / "models" / "active"
        try:
            # Where it leads now: another bundle may be activated while this one is read. A link that leads nowhere
            # must be reported, not silently replaced by the shipped model.
            return active.parent / active.readlink()
        except FileNotFoundError:
            return None
        except OSError:
            return active


def state_dir() -> Path:
    """The folder that holds the log and the installed bundles: systemd's, root's, or the user's own."""
    given = os.environ.get("STATE_DIRECTORY")
    if given:
        return Path(given.split(":")[0])
    return SYSTEM_STATE if os.geteuid() == 0 else platformdirs.user_state_path("tonelight", appauthor=False)


def runtime_dir() -> Path:
    """The folder for what need not outlive a restart: systemd's, root's, or the user's own. It may not exist."""
    given = os.environ.get("RUNTIME_DIRECTORY")
    if given:
        return Path(given.split(":")[0])
    if os.geteuid() == 0:
        return SYSTEM_RUNTIME
    session = os.environ.get("XDG_RUNTIME_DIR")
    return Path(session) / "tonelight" if session else state_dir()


def mute_path() -> Path:
    """The mute switch (`edge.mute`)."""
    return state_dir() / "mute"


def capture_path() -> Path:
    """The switch that has clips kept (`edge.capture`)."""
    return state_dir() / "capture"


def clips_path() -> Path:
    """The folder of clips (`edge.clips`)."""
    return state_dir() / "clips"


def health_path() -> Path:
    """Where a running daemon says how it is (`edge.health`)."""
    return runtime_dir() / "health.json"


def demo_path() -> Path:
    """The recording that comes with tonelight, for machines without a microphone."""
    return Path(__file__).with_name("data") / "demo.flac"


def default_config_path() -> Path:
    """The file read when none is named; it need not exist.

    The system's file belongs to the service and to root (the unit names it, too); everybody else has their own.
    """
    if os.geteuid() == 0 and SYSTEM_CONFIG.exists():
        return SYSTEM_CONFIG
    return platformdirs.user_config_path("tonelight", appauthor=False) / "config.toml"


def load(path: Path | None = None) -> Config:
    """Read the file at `path`; without one, the default file, and defaults where there is no such file.

    Raises:
        ConfigError: the file is missing (only when it was named), unreadable, not TOML, or holds a key or a value
            that is not allowed.
    """
    file = default_config_path() if path is None else path
    try:
        # utf-8-sig: editors on Windows put a byte order mark in front
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if path is None:
            return Config()
        raise ConfigError(
            f"{file}: no such file; `tonelight config show > {file}` writes one with every key explained"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: not a text file in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    return parse(text, file)


def parse(text: str, file: Path) -> Config:
    """Turn TOML into a `Config`; `file` is named in errors, and relative paths in the text count from its folder.

    Raises:
        ConfigError: not TOML, or a key or a value that is not allowed.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {one_line(error)}") from None
    except RecursionError:
        raise ConfigError(f"{file}: lists or tables are nested too deeply; no key needs that") from None
    except ValueError:  # Python reads no number of more than 4300 digits
        raise ConfigError(f"{file}: a number has too many digits") from None
    config = _convert(table, Config, "", file)
    bundle = _absolute(config.model.bundle, "model.bundle", file)
    log = _absolute(config.history.path, "history.path", file)
    return msgspec.structs.replace(
        config,
        model=msgspec.structs.replace(config.model, bundle=bundle),
        history=msgspec.structs.replace(config.history, path=log),
        mqtt=msgspec.structs.replace(
            config.mqtt,
            ca_file=_absolute(config.mqtt.ca_file, "mqtt.ca_file", file),
            password_file=_absolute(config.mqtt.password_file, "mqtt.password_file", file),
        ),
        metrics=msgspec.structs.replace(
            config.metrics, token_file=_absolute(config.metrics.token_file, "metrics.token_file", file)
        ),
    )


def render(config: Config) -> str:
    """Return `config` as TOML with a comment on each key: its meaning, what is allowed, and the default."""
    lines = ["# Configuration of tonelight. Keys that are left out have the default named here."]
    lines += _rendered(config, "")
    return "\n".join(lines) + "\n"


_Table = TypeVar("_Table", bound=msgspec.Struct)


def _convert(table: Mapping[str, Any], kind: type[_Table], prefix: str, file: Path) -> _Table:
    """Check `table` key by key, so that each complaint can name its key and what is allowed there."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = prefix + (key if key.isprintable() else _toml(key))
        if key not in fields:
            raise ConfigError(f"{file}: unknown key {name}{_meant(name)}; {_allowed_keys(kind, prefix)}")
        expected = fields[key].type
        if _is_table(expected):
            if not isinstance(value, dict):
                raise ConfigError(f"{file}: {name} = {_short(value)}: expected a table, written [{name}]")
            values[key] = _convert(value, expected, f"{name}.", file)
            continue
        try:
            values[key] = msgspec.convert(value, expected)
        except msgspec.ValidationError as error:
            # Only a value inside a list or table has a place worth adding ("at `$.happy`"); the rest is said better.
            place = str(error).partition(" - at `$")[2].rstrip("`").lstrip(".")
            inside = f" (at {place})" if place and place != "[...]" else ""
            raise ConfigError(
                f"{file}: {name} = {_short(value)}: expected {_allowed(expected)}{inside}{_near_value(value, expected)}"
            ) from None
    try:
        # converted as a whole for the sake of the checks in a table's __post_init__
        return msgspec.convert(values, kind, from_attributes=True)
    except msgspec.ValidationError as error:
        # such a check names its key first, and may repeat what stood in the file
        raise ConfigError(f"{file}: {prefix}{one_line(str(error).partition(' - at `$')[0])}") from None


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _absolute(path: str, key: str, file: Path) -> str:
    if not path.isprintable():
        raise ConfigError(f"{file}: {key} = {_short(path)}: expected a path of printable characters")
    try:
        return str(file.absolute().parent / Path(path).expanduser()) if path else ""
    except RuntimeError:
        raise ConfigError(f"{file}: {key} = {_short(path)}: there is no such user; write the whole path") from None


def _keys(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    """Every key there is, dotted, tables included."""
    for field in msgspec.structs.fields(kind):
        yield prefix + field.encode_name
        if _is_table(field.type):
            yield from _keys(field.type, f"{prefix}{field.encode_name}.")


def _meant(name: str) -> str:
    """A "did you mean" for an unknown dotted key: a near miss, or the same key in another table."""
    known = list(_keys(Config))
    last = name.rpartition(".")[2]
    elsewhere = [key for key in known if key.rpartition(".")[2] == last]
    table = name.rpartition(".")[0]
    here = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == table}
    near = [here[key] for key in difflib.get_close_matches(last.lower(), here, n=1)]
    far = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.7)
    found = elsewhere[:1] or near or far
    return f" (did you mean {found[0]}?)" if found else ""


def _allowed_keys(kind: type[msgspec.Struct], prefix: str) -> str:
    names = [f"[{f.encode_name}]" if _is_table(f.type) else f.encode_name for f in msgspec.structs.fields(kind)]
    return f"{f'[{prefix[:-1]}]' if prefix else 'the top level'} allows {', '.join(names)}"


def _near_value(value: Any, kind: Any) -> str:
    told = inspect.type_info(kind)
    told = told.type if isinstance(told, inspect.Metadata) else told
    if isinstance(value, str) and isinstance(told, inspect.LiteralType):
        near = difflib.get_close_matches(value.lower(), [str(v) for v in told.values], n=1)
        return f" (did you mean {_toml(near[0])}?)" if near else ""
    return ""


def _allowed(kind: Any) -> str:
    """What a key of this type may hold, in words."""
    return _in_words(inspect.type_info(kind))


def _in_words(told: inspect.Type) -> str:
    if isinstance(told, inspect.Metadata):
        title = (told.extra_json_schema or {}).get("title")
        return str(title) if title else _in_words(told.type)
    if isinstance(told, inspect.BoolType):
        return "true or false"
    if isinstance(told, (inspect.IntType, inspect.FloatType)):
        noun = "a whole number" if isinstance(told, inspect.IntType) else "a number"
        if told.ge is not None and told.le is not None:
            return f"{noun} from {told.ge:g} to {told.le:g}"
        return f"{noun} of at least {told.ge:g}" if told.ge is not None else noun
    if isinstance(told, inspect.StrType):
        return "text in quotes" + (f" of at most {told.max_length} characters" if told.max_length else "")
    if isinstance(told, inspect.LiteralType):
        return "one of " + ", ".join(_toml(value) for value in told.values)
    if isinstance(told, (inspect.ListType, inspect.VarTupleType)):
        return f"a list of items, each {_in_words(told.item_type)}"
    if isinstance(told, inspect.TupleType):
        return f"a list of {len(told.item_types)} items, each {_in_words(told.item_types[0])}"
    if isinstance(told, inspect.DictType):
        return f"a table, each value {_in_words(told.value_type)}"
    if isinstance(told, inspect.UnionType):
        return " or ".join(_in_words(part) for part in told.types if not isinstance(part, inspect.NoneType))
    raise TypeError(f"no words for {told!r}")


def _rendered(table: msgspec.Struct, prefix: str) -> Iterator[str]:
    fields = msgspec.structs.fields(type(table))
    for field in fields:
        if _is_table(field.type):
            continue
        value, name = getattr(table, field.name), field.encode_name
        told = inspect.type_info(field.type)
        about = (told.extra_json_schema or {}).get("description", "") if isinstance(told, inspect.Metadata) else ""
        default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        facts = _in_words(told) + (f"; default {_toml(default)}" if default is not None else "")
        yield ""
        yield from textwrap.wrap(about, 100, initial_indent="# ", subsequent_indent="# ")
        yield f"# ({facts})"
        yield f"# {name} =" if value is None else f"{name} = {_toml(value)}"
    for field in fields:
        if _is_table(field.type):
            inner = getattr(table, field.name)
            yield ""
            yield f"[{prefix}{field.encode_name}]"
            yield from _rendered(cast(msgspec.Struct, inner), f"{prefix}{field.encode_name}.")


def _short(value: Any) -> str:
    text = _toml(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _toml(value: Any) -> str:
    """One value as TOML (anything TOML cannot hold, such as a date, only ever appears in an error: as text)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, Mapping):
        pairs = [f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    return str(value)
