"""A bundle is whole or it is refused: in one line that names the file, and by no other error than BundleError."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from bundles import copy_bundle, edit
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import sources
from edge.bundle import (
    CARD,
    GOLDEN,
    MANIFEST,
    MAX_FILE_BYTES,
    MODEL,
    SAMPLE_RATE_HZ,
    default_bundle_path,
    load_bundle,
    parse_manifest,
)
from edge.classifier import Classifier
from edge.errors import BundleError
from edge.features import FeatureExtractor
from edge.gate import Gate
from edge.labels import EMOTIONS
from edge.normalize import Normalizer


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return copy_bundle(tmp_path)


def refused(bundle: Path, *named: str) -> str:
    """`load_bundle` refuses it in one line that names the bundle's path and all of `named`."""
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    for name in (str(bundle), *named):
        assert name in line
    return line


def at(manifest: dict[str, Any], path: str) -> tuple[Any, str]:
    """What holds the value at a path such as "gate.open_db", and its key there."""
    *folders, key = path.split(".")
    for folder in folders:
        manifest = manifest[int(folder) if isinstance(manifest, list) else folder]
    return manifest, key


def paths(value: Any, prefix: str = "") -> list[str]:
    """Every key in a manifest, lists by their first element."""
    found = []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += [prefix + key, *paths(inner, f"{prefix}{key}.")]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        found += paths(value[0], f"{prefix}0.")
    return found


MANIFEST_TEXT = (default_bundle_path() / MANIFEST).read_text()
FREE = ("metrics.", "tools.", "files.")
"""Tables whose keys are free."""
PATHS = [path for path in paths(json.loads(MANIFEST_TEXT)) if not path.startswith(FREE)]


# Whole ----------------------------------------------------------------------------------------------------------------


def test_the_default_bundle_is_whole():
    bundle = load_bundle(default_bundle_path())
    assert bundle.id == f"{bundle.name}-{bundle.version}" == default_bundle_path().name
    assert bundle.labels == EMOTIONS
    assert bundle.model == (default_bundle_path() / MODEL).read_bytes()


def test_a_copy_elsewhere_is_whole(bundle):
    assert load_bundle(bundle).path == bundle


def test_models_are_for_what_sources_deliver():
    assert SAMPLE_RATE_HZ == sources.SAMPLE_RATE_HZ


# The folder -----------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there(tmp_path):
    refused(tmp_path / "nothing", "does not exist", MANIFEST)


def test_a_file_in_place_of_a_folder(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"model")
    refused(tmp_path / "model.tflite", "is a file", MANIFEST)


def test_an_empty_folder(tmp_path):
    refused(tmp_path, MANIFEST)


def test_a_name_longer_than_any_name_can_be(tmp_path):
    refused(tmp_path / ("x" * 5000))


def test_a_link_that_leads_round_in_circles(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop")


@pytest.mark.parametrize("name", [MANIFEST, MODEL, GOLDEN, CARD])
def test_a_missing_file(bundle, name):
    (bundle / name).unlink()
    refused(bundle, name, "get it again")


@pytest.mark.parametrize("name", [MODEL, GOLDEN, CARD])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "flipped", "grown"])
def test_a_damaged_file(bundle, name, damage):
    content = bytearray((bundle / name).read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    elif damage == "emptied":
        content.clear()
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
    else:
        content += b"\0"
    (bundle / name).write_bytes(content)
    refused(bundle, name, "sha256")


@pytest.mark.parametrize("name", [MANIFEST, MODEL])
def test_a_folder_or_a_pipe_in_place_of_a_file(bundle, name):
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    refused(bundle, name, "not a plain file")
    (bundle / name).unlink()
    (bundle / name).mkdir()
    refused(bundle, name, "not a plain file")


def test_what_a_package_manager_linked_is_whole(bundle, tmp_path):
    (tmp_path / "kept").mkdir()
    for name in (MANIFEST, MODEL, GOLDEN, CARD):
        (bundle / name).rename(tmp_path / "kept" / name)
        (bundle / name).symlink_to(tmp_path / "kept" / name)
    assert load_bundle(bundle).path == bundle


@pytest.mark.parametrize("name", [MANIFEST, GOLDEN])
def test_a_file_larger_than_any_bundle_s_is_not_read(bundle, name):
    os.truncate(bundle / name, MAX_FILE_BYTES + 1)  # sparse: it takes no space
    refused(bundle, name, "larger")


@pytest.mark.parametrize("name", [MANIFEST, MODEL])
def test_a_file_that_may_not_be_read(bundle, name):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (bundle / name).chmod(0)
    refused(bundle, name, "cannot be read")


# The manifest as text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0",
        b"null",
        b"[]",
        b"{}",
        b"not json",
        b"\xff\xfe{}",
        b'{"schema": "tonelight-bundle/2"',
        b'{"schema": "\xff"}',
        b'{"schema": "\\ud800"}',
        b"[" * 100_000,
        b'{"metrics":' + b'{"a":' * 100_000,
        b'{"a\\nb\\u2028c": 1}',
        b'{"' + b"x" * 10_000 + b'": 1}',
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_manifest_that_is_none(bundle, text):
    (bundle / MANIFEST).write_bytes(text)
    assert len(refused(bundle, MANIFEST)) < 1000


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + 400 * "0"])
def test_numbers_that_are_none(bundle, number):
    edit(bundle, lambda manifest: manifest["gate"].update(open_db="HERE"))
    text = (bundle / MANIFEST).read_text()
    (bundle / MANIFEST).write_text(text.replace('"HERE"', number))
    refused(bundle, MANIFEST)


def test_every_prefix_of_a_manifest_is_refused():
    content = MANIFEST_TEXT.strip().encode()
    for n in range(0, len(content), 97):
        with pytest.raises(BundleError):
            parse_manifest(content[:n], MANIFEST)
    with pytest.raises(BundleError):
        parse_manifest(content[:-1], MANIFEST)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(MANIFEST_TEXT) - 1), st.binary(max_size=4), st.integers(0, 8))
def test_any_damage_to_the_text_is_refused_or_can_be_run(start, inserted, n_deleted):
    content = MANIFEST_TEXT.encode()
    content = content[:start] + inserted + content[start + n_deleted :]
    try:
        manifest = parse_manifest(content, MANIFEST)
    except BundleError as error:
        assert len(str(error).splitlines()) == 1
        assert MANIFEST in str(error)
        return
    Gate(manifest.gate, manifest.features.hop_ms)
    FeatureExtractor(manifest.features)
    Normalizer(manifest.normalizer, manifest.features.hop_ms)


# The manifest key by key ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_nothing_has_a_default(bundle, path):
    def drop(manifest: dict[str, Any]) -> None:
        holder, key = at(manifest, path)
        del holder[key]

    edit(bundle, drop)
    refused(bundle, MANIFEST, path.rsplit(".", 1)[-1])


@pytest.mark.parametrize("path", [path for path in PATHS if "." in path] + ["here"])
def test_nothing_unknown_is_let_through(bundle, path):
    def add(manifest: dict[str, Any]) -> None:
        holder, _ = at(manifest, path)
        holder["surprise"] = 1

    edit(bundle, add)
    refused(bundle, MANIFEST, "surprise")


def test_what_cannot_be_printed_is_not_repeated(bundle):
    edit(bundle, lambda manifest: manifest.update({"a\x00b\u2028c\x7f": 1}))
    with pytest.raises(BundleError, match="unknown field") as caught:
        load_bundle(bundle)
    assert str(caught.value).isprintable()


WRONG = [None, True, -1, 1e308, 2**70, "x", "", [], ["x"], {}, {"x": 1}]


@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_value_is_refused_or_can_be_run(bundle, path):
    kept = json.loads(MANIFEST_TEXT)
    holder, key = at(kept, path)
    right = holder[key]
    for wrong in WRONG:
        holder[key] = wrong
        (bundle / MANIFEST).write_text(json.dumps(kept))
        try:
            loaded = load_bundle(bundle)
        except BundleError as error:
            assert len(str(error).splitlines()) == 1
            assert str(bundle / MANIFEST) in str(error)
            assert len(str(error)) < 1000
            continue
        # all that is left are words, figures, and settings that work
        manifest = loaded.manifest
        assert isinstance(wrong, type(right)) or isinstance(right, int | float)
        Gate(manifest.gate, manifest.features.hop_ms)
        FeatureExtractor(manifest.features)
        Normalizer(manifest.normalizer, manifest.features.hop_ms)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("schema", "tonelight-bundle/1", "tonelight-bundle/2"),
        ("name", "../../etc", "name"),
        ("name", "tonelight\n", "name"),
        ("version", "1.0", "version"),
        ("version", "1.0.0\n", "version"),
        ("labels", ["neutral"], "labels"),
        ("labels", ["neutral", "neutral"], "labels"),
        ("labels", ["neutral", "bored"], "labels"),
        ("labels", ["neutral", "sad", "disgusted"], "need one of happy, angry, fearful, surprised"),
        ("labels", ["happy", "disgusted"], "need one of neutral, calm, sad"),
        ("labels", ["neutral", "a\nb"], "labels"),
        ("features.sample_rate_hz", 44100, "sample_rate_hz"),
        ("features.n_mels", 250, "n_mels"),
        ("features.level_memory_s", 0.01, "level_memory_s"),
        ("features.columns", ["rms"], "mean"),
        ("features.columns", ["loudness"], "columns"),
        ("gate.close_db", 99, "close_db"),
        ("gate.max_segment_s", 1e308, "max_segment_s"),
        ("normalizer.std", [0], "normalizer"),
        ("decision.exit", 0.99, "exit"),
        ("model.form", "cloud", "form"),
        ("model.chunk_frames", 33, "chunk_frames"),
        ("model.chunk_frames", 0, "chunk_frames"),
        ("quantization", "int4", "quantization"),
        ("files", {}, MODEL),
        ("files", {MODEL: "a\nb"}, "files"),
    ],
)
def test_what_does_not_fit_is_named(bundle, path, value, named):
    def change(manifest: dict[str, Any]) -> None:
        holder, key = at(manifest, path)
        holder[key] = value

    edit(bundle, change)
    refused(bundle, MANIFEST, named)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../model.tflite", "/etc/passwd", "a/b", "a\0b", "a\nb", "ü", "x" * 300, ".hidden", "a\\b"]
)
def test_files_are_named_plainly(bundle, name):
    edit(bundle, lambda manifest: manifest["files"].update({name: "0" * 64}))
    refused(bundle, MANIFEST, "plain file name")


def test_a_listed_file_must_be_there(bundle):
    edit(bundle, lambda manifest: manifest["files"].update({"signature": "0" * 64}))
    refused(bundle, "signature")


def test_a_wrong_hash(bundle):
    edit(bundle, lambda manifest: manifest["files"].update({MODEL: "0" * 64}))
    refused(bundle, MODEL, "000000000000")


def test_a_manifest_of_another_form_is_checked_by_its_own_rules(bundle):
    window = {
        "form": "window",
        "chunk_frames": 50,
        "window_frames": 40,
        "features_input": "a",
        "logits_output": "b",
        "hears_speech": False,
    }
    edit(bundle, lambda manifest: manifest.update(model=window))
    refused(bundle, MANIFEST, "window_frames")
    edit(bundle, lambda manifest: manifest.update(model=window | {"window_frames": 50}))
    with pytest.raises(BundleError, match="'a'"):
        Classifier(load_bundle(bundle))


def test_a_bundle_does_not_change_under_who_loaded_it(bundle):
    loaded = load_bundle(bundle)
    shutil.rmtree(bundle)
    assert Classifier(loaded)
