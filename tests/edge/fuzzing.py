"""What people and broken cards make of the files that tonelight reads: endless inputs, each a function of its number.

A `Target` makes inputs out of whole ones and feeds them to the program. It may take them or refuse them by a
`TonelightError` of one line; whatever else comes out is a finding. tests/edge/test_fuzz.py feeds the first hundreds,
benchmarks/fuzz.py as many as there is time for, in processes that may die.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import soundfile
from signals import RATE_HZ, talk

from edge import config
from edge.bundle import CARD, GOLDEN, MANIFEST, MODEL, Bundle, default_bundle_path, load_bundle, parse_manifest
from edge.errors import BundleError, TonelightError
from edge.events import Detection, Score
from edge.health import HealthFile, read_report
from edge.history import Event, History, count_events, read_events
from edge.labels import EMOTIONS
from edge.observers import Health, Phase
from edge.pipeline import Pipeline, verify_golden
from edge.signing import SIGNATURE, read_public_key
from edge.sources import FileSource
from edge.store import Store

LONGEST_LINE: Final = 3000
"""A complaint of more letters is none that anybody reads."""

NUMBERS: Final = (0, 1, -1, 2, 7, 100, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


# --- bytes


def mutated(rng: random.Random, content: bytes, other: bytes = b"") -> bytes:
    """`content` with one to four changes anywhere; pieces of `other` may come in."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        length = min(rng.choice((1, 1, 2, 4, 8, 40, 400)), len(data) - at)
        what = rng.randrange(9)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[at : at + length] = rng.randbytes(length)
        elif what == 2:
            data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16, 300)))
        elif what == 3:
            del data[at : at + length]
        elif what == 4:
            data[at:at] = data[at : at + length]
        elif what in (5, 6):
            number = struct.pack("<Q" if what == 5 else ">Q", rng.choice(NUMBERS) % 2**64)
            width = rng.choice((1, 2, 4, 8))
            data[at : at + width] = number[:width] if what == 5 else number[-width:]
        elif what == 7:
            del data[at:]
        else:
            start = rng.randrange(len(other) + 1)
            data[at : at + length] = other[start : start + length]
    return bytes(data)


# --- TOML and JSON, by their structure

_TEXTS: Final = (
    "",
    "x",
    "\N{BELL}",
    "\n",
    "\u2028",
    "\x7f",
    "é" * 70,
    "../..",
    "~nobody/x",
    "a\x00b",
    "🔊",
    "{",
    "%s",
    "nan",
)


def _scalar(rng: random.Random) -> Any:
    return rng.choice(
        (
            rng.choice(NUMBERS),
            -rng.choice(NUMBERS),
            rng.choice((0.0, -0.0, 0.5, 1e-308, 1e308, -1e30, 1e9, 3.3)),
            rng.choice(_TEXTS),
            rng.choice((True, False)),
            rng.randint(0, 60),
            rng.uniform(-1, 1) * 10 ** rng.randint(-3, 4),
        )
    )


def _value(rng: random.Random, depth: int = 0) -> Any:
    what = rng.randrange(8) if depth < 3 else 0
    if what == 6:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if what == 7:
        return {rng.choice(("a", "red", "", "happy", "é")): _value(rng, depth + 1) for _ in range(rng.randrange(3))}
    return _scalar(rng)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (holder, key) in a tree of dicts and lists."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    return [(tree, key) for key in keys] + [place for key in keys for place in _places(tree[key])]


def _changed_json(rng: random.Random, content: bytes) -> bytes:
    """Other values, names and shapes, as JSON."""
    tree = json.loads(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = _places(tree)
        if not places:
            break
        holder, key = rng.choice(places)
        what = rng.randrange(8)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[rng.choice((*_TEXTS, "schema", "zzz"))] = _value(rng)
        elif what == 2 and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif what in (3, 4) and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
            # near what it was: this is what passes the checks and has to be lived with
            number = holder[key] * rng.choice((0, -1, 0.5, 2, 10, 1000, 1 + 1e-6)) + rng.choice((0, 0, 1, -1))
            holder[key] = round(number) if isinstance(holder[key], int) and abs(number) < 1e18 else number
        elif what == 5:
            holder[key] = json.loads(json.dumps(rng.choice(places)[0]))
        else:
            holder[key] = _value(rng)
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.02:
        deep = rng.choice((500, 5000, 100_000))
        text = text.replace(": ", ": " + rng.choice(("[", '{"a": ')) * deep, 1)
    return text.encode("utf-8", "surrogatepass")


def _toml_value(rng: random.Random) -> str:
    deep = rng.choice((3, 30, 3000))
    return rng.choice(
        (
            json.dumps(_value(rng), ensure_ascii=rng.random() < 0.5),
            json.dumps(_scalar(rng)),
            json.dumps(_scalar(rng)),
            json.dumps(_scalar(rng)),
            rng.choice(
                ("inf", "-inf", "nan", "+1", "0x_1", "1e400", "1_000", "07", "'''a\nb'''", '"""\\\n x"""', "''")
            ),
            rng.choice(
                ("1979-05-27", "07:32:00", "2026-02-30", "1979-05-27T07:32:00Z", "0000-00-00", "9999-12-31T24:00")
            ),
            "9" * rng.choice((19, 400, 5000)),
            rng.choice(("{ a = 1 }", "{ a.b = 1, a.c = 2 }", "[{}]", "[1, 'a', [2]]", "{}", "[]")),
            rng.choice(("[", "{a=")) * deep + (rng.choice(("]", "}")) * deep if rng.random() < 0.7 else ""),
        )
    )


def _changed_toml(rng: random.Random, text: str) -> str:
    """Other values, keys, tables and orders, as TOML or nearly so."""
    lines = text.splitlines()
    settings = [i for i, line in enumerate(lines) if "=" in line]
    tables = [line for line in lines if line.startswith(("[", "# ["))]
    for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 5))):
        at = rng.choice(settings)
        key, _, value = lines[at].lstrip("# ").partition("=")
        what = rng.randrange(10)
        if what < 6:
            lines[at] = f"{key}= {_toml_value(rng)}"
        elif what == 6:
            odd = rng.choice(
                ('""', "'é'", '"\\u0000"', "a.b", "leds", f"{key.strip()}.x", "x" * 300, key.upper(), key[1:])
            )
            lines[at] = f"{odd} = {value}"
        elif what == 7:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif what == 8:
            lines.insert(rng.randrange(len(lines)), rng.choice(tables))
        else:
            lines.insert(
                rng.randrange(len(lines)), rng.choice(("[[leds]]", "[a.b.c]", "[leds.night.x]", "=", "[", '["'))
            )
    return "\n".join(lines)


# --- what is fed


def put(path: Path, content: bytes) -> None:
    """A new file: some file systems bring one that is overwritten to the disk at once, which takes long."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


class Target:
    """Makes inputs, and feeds them. `folder` is its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def content(self, rng: random.Random) -> bytes:
        """One more input."""
        raise NotImplementedError

    def feed(self, content: bytes) -> None:
        """Returns where it is taken.

        Raises:
            TonelightError: it is refused.
        """
        raise NotImplementedError


class ConfigFile(Target):
    """config.toml; one that is taken must be written back and read again to the same values."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._file = folder / "config.toml"
        self._whole = config.render(config.Config())
        plain = "\n".join(line for line in self._whole.splitlines() if line and not line.startswith("#"))
        self._tables = ["[" + table for table in plain.split("\n[")[1:]]
        self._set = (
            '[leds]\nkind = "pins"\npins = { happy = 17, sad = 27 }\ncolours = { happy = "#ffaa00" }\n'
            "[leds.night]\n[mqtt]\nenabled = true\nhost = 'a.b'\n[mute]\nbutton_pin = 4\n"
        )

    def content(self, rng: random.Random) -> bytes:
        text = rng.choice((self._set, *["\n".join(rng.sample(self._tables, 2))] * 2))
        if rng.random() < 0.03:
            text = self._whole
        if rng.random() < 0.3:
            return mutated(rng, text.encode(), self._whole.encode())
        return _changed_toml(rng, text).encode("utf-8", "surrogatepass")

    def feed(self, content: bytes) -> None:
        put(self._file, content)
        loaded = config.load(self._file)
        assert config.parse(config.render(loaded), self._file) == loaded


class ManifestFile(Target):
    """manifest.json; with one that is taken, a second of sound must go through, or be refused."""

    _USED: Final = ("labels", "features", "gate", "normalizer", "model", "decision")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._bundle = load_bundle(default_bundle_path())
        self._whole = (default_bundle_path() / MANIFEST).read_bytes()
        self._talk = talk()[RATE_HZ // 2 : 3 * RATE_HZ // 2]

    def content(self, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return mutated(rng, self._whole, self._whole)
        return _changed_json(rng, self._whole)

    def feed(self, content: bytes) -> None:
        manifest = parse_manifest(content, "manifest.json")
        if any(getattr(manifest, name) != getattr(self._bundle.manifest, name) for name in self._USED):
            with np.errstate(all="ignore"):
                listen(Pipeline(Bundle(self.folder, manifest, self._bundle.model)), self._talk)


def listen(pipeline: Pipeline, samples: np.ndarray) -> int:
    """Push and flush; every number that comes out must be one. How many events there were."""
    events = [*pipeline.push(samples), *pipeline.flush()]
    for event in events:
        shares = list(event.probs.values())
        assert np.isfinite([*shares, event.confidence, event.activation]).all(), event
        assert abs(sum(shares) - 1) < 1e-3, event
        if isinstance(event, Detection):
            assert 0 <= event.start_s <= event.end_s, event
    return sum(not isinstance(event, Score) for event in events)


class ModelFile(Target):
    """model.tflite as the interpreter gets it, behind hash and signature: this may end the process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._bundle = load_bundle(default_bundle_path())
        self._talk = talk()[RATE_HZ // 2 : 3 * RATE_HZ // 2]

    def content(self, rng: random.Random) -> bytes:
        model = self._bundle.model
        if rng.random() < 0.3:
            return mutated(rng, model, model)
        # most of it is weights: the structure stands at the beginning and, with the names of tensors, at the end
        start = rng.choice((0, len(model) - 40_000))
        return model[:start] + mutated(rng, model[start : start + 40_000], model[-40_000:]) + model[start + 40_000 :]

    def feed(self, content: bytes) -> None:
        with np.errstate(all="ignore"):
            listen(Pipeline(Bundle(self.folder, self._bundle.manifest, content)), self._talk)


class GoldenFile(Target):
    """golden.npz, as it is replayed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._bundle = load_bundle(shutil.copytree(default_bundle_path(), folder / "bundle", dirs_exist_ok=True))
        self._whole = (self._bundle.path / GOLDEN).read_bytes()
        with zipfile.ZipFile(io.BytesIO(self._whole)) as file:
            self._members = {name: file.read(name) for name in file.namelist()}

    def content(self, rng: random.Random) -> bytes:
        if rng.random() < 0.4:
            edge = rng.choice((self._whole[:300], self._whole[-400:]))
            changed = mutated(rng, edge, self._whole)
            return self._whole.replace(edge, changed) if rng.random() < 0.7 else mutated(rng, self._whole)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file:
            for name, content in self._members.items():
                if rng.random() < 0.5:
                    head = mutated(rng, content[:128], content)
                    numbers = (
                        b"(0,",
                        b"(-1,",
                        b"(1000000000000,",
                        b"(True,",
                        b"(1e3,",
                        b"((1,),",
                        b"(99999999999999999999,",
                    )
                    if rng.random() < 0.5:
                        head = content[:128].replace(b"(", rng.choice(numbers), 1)
                    if rng.random() < 0.3:
                        head = content[:128].replace(
                            rng.choice((b"<f4", b"<i2")), rng.choice((b"|O8", b"<c8", b"|V4", b"<M8"))
                        )
                    content = head + content[128:]
                if rng.random() < 0.95:
                    file.writestr(name, content)
        return out.getvalue()

    def feed(self, content: bytes) -> None:
        put(self._bundle.path / GOLDEN, content)
        with np.errstate(all="ignore"):
            verify_golden(self._bundle)


class SignedBundle(Target):
    """A file of a signed bundle that was changed on its way: never taken, unless it says the same."""

    def __init__(self, folder: Path) -> None:
        from signed import Maker

        super().__init__(folder)
        maker = Maker(folder / "maker")
        self._bundle = maker.make("1.0.0")
        keys = folder / "keys"
        keys.mkdir(exist_ok=True)
        shutil.copy(maker.public, keys)
        self._store = Store(folder / "models", keys)
        self._store.verify(self._bundle)
        self._names = (MANIFEST, MODEL, GOLDEN, CARD, SIGNATURE)
        self._whole = {name: (self._bundle / name).read_bytes() for name in self._names}

    def content(self, rng: random.Random) -> bytes:
        number = rng.randrange(len(self._names))
        content = self._whole[self._names[number]]
        is_json = self._names[number] in (MANIFEST, SIGNATURE) and rng.random() < 0.7
        return bytes([number]) + (_changed_json(rng, content) if is_json else mutated(rng, content, content))

    def feed(self, content: bytes) -> None:
        name = self._names[content[0] % len(self._names)]
        put(self._bundle / name, content[1:])
        try:
            self._store.verify(self._bundle)
        finally:
            put(self._bundle / name, self._whole[name])
        if name == SIGNATURE:
            assert msgspec.json.decode(content[1:]) == msgspec.json.decode(self._whole[name])
        else:
            assert content[1:] == self._whole[name], f"a changed {name} was taken"


class KeyFile(Target):
    """A public key."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._file = folder / "a.pub"
        self._whole = b"tonelight-ed25519 " + b"A" * 42 + b"A= a comment\n"

    def content(self, rng: random.Random) -> bytes:
        return mutated(rng, self._whole, self._whole)

    def feed(self, content: bytes) -> None:
        put(self._file, content)
        key = read_public_key(self._file)
        assert len(key.raw) == 32
        key.has_signed(b"x", bytes(64))


class HealthReport(Target):
    """health.json, as `doctor` reads it: what is no report is none."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._file = folder / "health.json"
        HealthFile(self._file).on_health(Health(Phase.FAULT, "gone", "kitchen", "m", "", 1.0, 1, 2, 3, 4))
        self._whole = self._file.read_bytes()

    def content(self, rng: random.Random) -> bytes:
        return mutated(rng, self._whole) if rng.random() < 0.5 else _changed_json(rng, self._whole)

    def feed(self, content: bytes) -> None:
        put(self._file, content)
        if read_report(self._file) is None:
            raise BundleError("no report")


class Recording(Target):
    """A recording in every format that libsndfile writes here."""

    LONGEST: Final = 400  # blocks: a header may promise for ever, and be right

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._file = folder / "recording"
        self._pipeline = Pipeline(load_bundle(default_bundle_path()))
        samples = talk()[8000:12_000]
        self._whole = []
        for kind in sorted(soundfile.available_formats()):
            for subtype in sorted(soundfile.available_subtypes(kind)):
                try:
                    # formats that hold one rate only, or no mono, are left out
                    soundfile.write(self._file, np.repeat(samples[:, None], 2, axis=1), 16_000, subtype, format=kind)
                    FileSource(self._file).close()
                except (RuntimeError, ValueError, TonelightError):
                    continue
                self._whole.append(self._file.read_bytes())

    def content(self, rng: random.Random) -> bytes:
        whole, other = rng.choices(self._whole, k=2)
        if rng.random() < 0.6:  # the header
            return mutated(rng, whole[:200], other[:200]) + whole[200:]
        return mutated(rng, whole, other)

    def feed(self, content: bytes) -> None:
        put(self._file, content)
        self._pipeline.reset()
        with FileSource(self._file, block_ms=500) as source:
            for number in range(self.LONGEST):
                block = source.read()
                if block is None:
                    break
                assert np.isfinite(block.samples).all() and np.abs(block.samples).max() <= 1
                if number < 4:
                    listen(self._pipeline, block.samples)


class HistoryFile(Target):
    """history.db, or the write-ahead log beside it: it may be refused or set aside, but what is heard next is kept."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._file = folder / "history.db"
        log = History(self._file, max_mb=4, max_days=36_500)
        for number in range(60):
            log.write(_event(number))
        log.flush()
        self._wal = Path(f"{self._file}-wal").read_bytes()
        self._before = self._file.read_bytes()
        log.close()
        self._whole = self._file.read_bytes()

    def content(self, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return b"W" + mutated(rng, self._wal, self._whole)
        if rng.random() < 0.5:
            return b"D" + mutated(rng, self._whole[:1200], self._whole) + self._whole[1200:]
        return b"D" + mutated(rng, self._whole, self._whole)

    def feed(self, content: bytes) -> None:
        for path in self.folder.iterdir():
            path.unlink()
        self._file.write_bytes(content[1:] if content[:1] == b"D" else self._before)
        if content[:1] == b"W":
            Path(f"{self._file}-wal").write_bytes(content[1:])
        refusals = []
        for read in (lambda: list(read_events(self._file)), lambda: count_events(self._file)):
            try:
                read()
            except TonelightError as error:
                refusals.append(error)
        log = History(self._file, max_mb=4, max_days=36_500)
        event = _event(1000)
        try:
            log.write(event)
            assert event in list(read_events(self._file)), "what was written cannot be read"
        except TonelightError as error:
            refusals.append(error)
        finally:
            try:
                log.close()
            except TonelightError as error:
                refusals.append(error)
        for refusal in refusals:
            check_line(refusal)
        if refusals:
            raise refusals[0]


def _event(number: int) -> Event:
    shares = np.full(len(EMOTIONS), 1 / len(EMOTIONS)).tolist()
    detection = Detection(number, number + 1.5, "happy", 0.5, dict(zip(EMOTIONS, shares, strict=True)), False, 0.7)
    now = datetime.fromtimestamp(1_790_000_000 + number, timezone.utc)
    return Event.from_detection(detection, node="kitchen", model="m-1.0.0", latency_ms=1.0, now=now, mono_s=number)


class Sound(Target):
    """Any samples that a microphone can give, in any rhythm."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._pipeline = Pipeline(load_bundle(default_bundle_path()))

    def content(self, rng: random.Random) -> bytes:
        draw = np.random.default_rng(rng.randrange(2**32))
        parts = []
        for _ in range(rng.randint(1, 6)):
            n = rng.choice((1, 100, 2000, 10_000))
            scale = 10 ** rng.uniform(-40, 0)
            parts.append(
                rng.choice(
                    (
                        np.zeros(n),
                        np.full(n, scale),
                        np.where(np.arange(n) // 20 % 2, 1.0, -1.0),
                        draw.standard_normal(n) * scale,
                        draw.uniform(-1, 1, n),
                        np.sin(np.arange(n) * rng.uniform(0, 3.2)),
                        (np.arange(n) % 997 == 0).astype(float),
                    )
                )
            )
        return np.clip(np.concatenate(parts), -1, 1).astype("<f4").tobytes()

    def feed(self, content: bytes) -> None:
        samples = np.frombuffer(content, "<f4").astype(np.float32)
        self._pipeline.reset()
        cut = len(samples) // 3
        self._pipeline.push(samples[:cut])
        listen(self._pipeline, samples[cut:])


TARGETS: Final[dict[str, type[Target]]] = {
    "config": ConfigFile,
    "manifest": ManifestFile,
    "bundle": SignedBundle,
    "key": KeyFile,
    "golden": GoldenFile,
    "recording": Recording,
    "sound": Sound,
    "history": HistoryFile,
    "health": HealthReport,
    "model": ModelFile,
}


def content_of(target: Target, name: str, seed: int, number: int) -> bytes:
    """Input `number` of the target called `name`: always the same one."""
    return target.content(random.Random(f"{name} {seed} {number}"))


def is_taken(target: Target, content: bytes) -> bool:
    """Feed it: taken, or refused in good order. Anything else is raised."""
    try:
        target.feed(content)
    except TonelightError as error:
        check_line(error)
        return False
    return True


def check_line(error: TonelightError) -> None:
    """One line that can be printed and read."""
    text = str(error)
    assert text and text.isprintable() and len(text) <= LONGEST_LINE, f"not one clear line: {text[:500]!r}"
