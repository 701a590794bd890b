"""A bundle: the deployable folder with a model and everything that belongs to it.

    models/<name>-<version>/
        model.tflite     the network
        manifest.json    labels, feature, gate and decision settings, tensors, hashes, figures, origin
        golden.npz       a signal made by the project, and what the model said of it when it was exported
        MODEL_CARD.md    for people

The manifest is parsed strictly: every key must be there, none may be unknown, nothing has a default. A model is only
right together with the settings it was trained with, and a guess at one of them would be a wrong answer.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from edge.digest import sha256_hex
from edge.errors import BundleError, one_line
from edge.features import FeatureConfig
from edge.gate import GateConfig
from edge.labels import EMOTIONS, HIGH, LOW
from edge.normalize import NormalizerConfig
from edge.smoothing import DecisionConfig

SCHEMA: Final = "tonelight-bundle/2"
MANIFEST: Final = "manifest.json"
MODEL: Final = "model.tflite"
GOLDEN: Final = "golden.npz"
CARD: Final = "MODEL_CARD.md"
MAX_FILE_BYTES: Final = 64 * 2**20
"""No file of a bundle is larger; a board must not be made to read a disk full of garbage."""

DEFAULT_BUNDLE: Final = "tonelight-0.1.0"
"""The bundle that ships with the project."""

SAMPLE_RATE_HZ: Final = 16_000
"""What every source delivers; a model for another rate would hear voices too high or too low."""

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Count = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class StateSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One state tensor: what the model gives out under one name it takes back in under another."""

    input: str
    output: str
    shape: tuple[Count, ...]


class StreamModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="form", tag="stream"):
    """Takes each frame once: `(1, chunk_frames, n_features)` and the states, gives logits so far and the states.

    State policy: all states are zero at the start of a segment.
    """

    chunk_frames: Count
    frames_per_step: Count
    """Frames that make one step of the recurrence; what remains of a segment below it is not seen."""
    features_input: str
    valid_input: str
    """`(1, chunk_frames / frames_per_step)`: 1 for steps that exist, 0 for the padding of a segment's last chunk."""
    logits_output: str
    hears_speech: bool
    """Whether one more logit follows those of the labels: that somebody speaks at all."""
    states: tuple[StateSpec, ...]


class WindowModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="form", tag="window"):
    """Takes the last `window_frames` frames of the segment every `chunk_frames` frames, zeros after the last one."""

    chunk_frames: Count
    window_frames: Count
    features_input: str
    logits_output: str
    hears_speech: bool


class CorpusUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A corpus that the model was trained on."""

    name: str
    clips: int
    speakers: int
    licence: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contract between a model and the program that runs it."""

    schema: Literal["tonelight-bundle/2"]
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z")]
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+\Z")]
    created: str
    """UTC, RFC 3339."""
    recipe: str
    labels: tuple[str, ...]
    features: FeatureConfig
    gate: GateConfig
    normalizer: NormalizerConfig
    model: StreamModel | WindowModel
    quantization: Literal["dynamic", "int8", "float16", "none"]
    decision: DecisionConfig
    metrics: dict[str, float]
    """Figures of the exported model; what they were measured on is in their names and in the card."""
    corpora: tuple[CorpusUse, ...]
    commit: str
    tools: dict[str, str]
    files: dict[str, Sha256]
    """sha256 of every other file of the bundle."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were found whole. `model` is the content of `model.tflite`."""

    path: Path
    manifest: Manifest
    model: bytes

    @property
    def id(self) -> str:
        """Name and version, as in events: `tonelight-0.1.0`."""
        return f"{self.manifest.name}-{self.manifest.version}"

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def labels(self) -> tuple[str, ...]:
        return self.manifest.labels


def default_bundle_path() -> Path:
    """The bundle that ships with the project: inside the installed package, or `models/` of a checkout."""
    package = Path(__file__).parent
    installed = package / "models" / DEFAULT_BUNDLE
    return installed if installed.is_dir() else package.parent / "models" / DEFAULT_BUNDLE


def load_bundle(path: Path) -> Bundle:
    """Read the bundle in folder `path`; every file is checked against its hash.

    Raises BundleError, in one line that names the file and the way out, when anything is missing, damaged or unknown.
    """
    # links may be: a package manager may link what it installs, and what is in them is checked
    manifest = parse_manifest(read_manifest(path, may_be_link=True), str(path / MANIFEST))
    for name in (MODEL, GOLDEN, CARD):
        if name not in manifest.files:
            raise BundleError(f"{path / MANIFEST}: `files` does not list {name}; export the bundle again")
    contents = {}
    for name, expected in manifest.files.items():
        if not re.fullmatch(r"\w[\w.-]{0,99}", name, re.ASCII):
            raise BundleError(f"{path / MANIFEST}: `files` names {name[:99]!r}, which is not a plain file name")
        contents[name] = read_file(path / name, may_be_link=True)
        found = sha256_hex(contents[name])
        if found != expected:
            raise BundleError(
                f"{path / name} is damaged or was changed (sha256 {found[:12]}…, the manifest says {expected[:12]}…); "
                "install the bundle again"
            )
    return Bundle(path, manifest, contents[MODEL])


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Parse and check a manifest; BundleError names `where` and the key at fault."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{where}: {one_line(error)}; this program reads bundles of schema {SCHEMA}") from None
    checks: tuple[tuple[str, Callable[[], None]], ...] = (
        ("features", lambda: _check_features(manifest.features)),
        ("gate", manifest.gate.check),
        ("decision", manifest.decision.check),
        ("normalizer", lambda: manifest.normalizer.check(manifest.features.n_features)),
        ("labels", lambda: _check_labels(manifest.labels)),
        ("model", lambda: _check_model(manifest.model)),
    )
    for key, check in checks:
        try:
            check()
        except ValueError as error:
            raise BundleError(f"{where}: `{key}`: {one_line(error)}; export the bundle again") from None
    return manifest


def _check_features(features: FeatureConfig) -> None:
    features.check()
    if features.sample_rate_hz != SAMPLE_RATE_HZ:
        raise ValueError(f"sample_rate_hz must be {SAMPLE_RATE_HZ}, got {features.sample_rate_hz}")


def _check_labels(labels: tuple[str, ...]) -> None:
    if not 2 <= len(labels) == len(set(labels) & set(EMOTIONS)):
        raise ValueError(f"need at least two of {', '.join(EMOTIONS)}, each once, got {list(labels)}")
    for kind in (HIGH, LOW):
        if not set(kind) & set(labels):
            raise ValueError(f"need one of {', '.join(kind)} to tell the activation, got {list(labels)}")


def _check_model(model: StreamModel | WindowModel) -> None:
    if isinstance(model, StreamModel) and model.chunk_frames % model.frames_per_step:
        raise ValueError(
            f"chunk_frames must be a multiple of frames_per_step, got {model.chunk_frames} and {model.frames_per_step}"
        )
    if isinstance(model, WindowModel) and model.chunk_frames > model.window_frames:
        raise ValueError(
            f"chunk_frames must not exceed window_frames, got {model.chunk_frames} and {model.window_frames}"
        )


def read_manifest(bundle: Path, *, may_be_link: bool = False) -> bytes:
    """The bytes of the manifest in folder `bundle`, which its signature is over.

    Raises BundleError where there is no such folder, or it has no readable manifest.
    """
    try:
        is_folder, is_there = bundle.is_dir(), bundle.exists()
    except OSError as error:
        raise BundleError(f"bundle {bundle} cannot be read: {error.strerror}") from None
    if not is_folder:
        what = "is a file, not a folder" if is_there else "does not exist"
        raise BundleError(f"bundle {bundle} {what}; give the folder that holds {MANIFEST}")
    return read_file(bundle / MANIFEST, may_be_link=may_be_link)


def read_file(path: Path, *, may_be_link: bool = False) -> bytes:
    """Content of a plain file of a bundle; pipes and the like are refused, what is too large, and links unless allowed.

    Raises BundleError, in one line that names the file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if may_be_link else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)  # not blocking: opening a pipe might never end
    except FileNotFoundError:
        raise BundleError(f"bundle {path.parent} has no {path.name}; get it again, whole") from None
    except OSError as error:
        is_link = error.errno == errno.ELOOP and not may_be_link
        what = "is a link, not a plain file" if is_link else f"cannot be read: {error.strerror}"
        raise BundleError(f"{path} {what}; get the bundle again, whole") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path} is not a plain file; get the bundle again, whole")
        if status.st_size > MAX_FILE_BYTES:
            raise BundleError(f"{path} is larger than any file of a bundle may be ({MAX_FILE_BYTES >> 20} MiB)")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}; get the bundle again") from None
    finally:
        os.close(descriptor)
