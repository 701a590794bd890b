import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_recipe import tiny

from edge.frontend import FrontEnd
from train_host.corpora.clip import Clip
from train_host.dataset import Extraction, Sounds
from train_host.recipes import RECIPES
from train_host.recordings import read_recording

RECIPE = RECIPES["tonelight"]
RATE_HZ = 16000


@pytest.fixture
def few(clips, tmp_path) -> list[Clip]:
    """Three recordings to change and break."""
    own = []
    for one in (clips[0], clips[17], clips[40]):
        path = tmp_path / "recordings" / one.path.name
        path.parent.mkdir(exist_ok=True)
        shutil.copy(one.path, path)
        own.append(Clip(path, "few", one.speaker, None, None, one.emotion, one.label))
    return own


@pytest.fixture
def noise() -> Sounds:
    rng = np.random.default_rng(0)
    return Sounds([(0.05 * rng.standard_normal(4 * RATE_HZ)).astype(np.float32)], [])


def extraction(tmp_path: Path, sounds: Sounds | None = None) -> Extraction:
    return Extraction(RECIPE, sounds or Sounds([], []), tmp_path / "cache", n_processes=1)


def rows(examples) -> list[np.ndarray]:
    return [one.features for one in examples]


def same(a, b) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(rows(a), rows(b), strict=True))


def cache_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").iterdir())


def test_features_are_those_of_the_device(few, tmp_path):
    progress: list[int] = []
    found = extraction(tmp_path).examples(few, 0, progress.append)
    front_end = FrontEnd(RECIPE.features, RECIPE.gate, 50)
    ordered = sorted(few, key=lambda one: one.path)
    expected = [segment for one in ordered for segment in front_end.segments(read_recording(one.path))]
    assert [one.clip for one in found] == ordered
    assert sum(progress) == 3
    for one, segment in zip(found, expected, strict=True):
        assert one.features.dtype == np.float16
        assert one.features.shape == (len(segment), RECIPE.features.n_features)
        np.testing.assert_allclose(one.features, segment, atol=2e-2, rtol=1e-3)


def test_the_second_time_reads_the_cache(few, tmp_path):
    first = extraction(tmp_path).examples(few, 0)
    (file,) = cache_files(tmp_path)
    made = file.stat().st_mtime_ns
    for one in few:  # another copy of the same
        os.utime(one.path, ns=(0, 1))
    progress: list[int] = []
    again = extraction(tmp_path).examples(few, 0, progress.append)
    assert same(first, again)
    assert progress == [3]  # at once
    assert cache_files(tmp_path) == [file]
    assert file.stat().st_mtime_ns == made


def test_a_changed_recording_is_computed_anew(few, tmp_path):
    first = extraction(tmp_path).examples(few, 0)
    before = few[0].path.stat()
    samples, _ = soundfile.read(few[0].path, dtype="float32")
    soundfile.write(few[0].path, samples[::-1], RATE_HZ)
    os.utime(few[0].path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert few[0].path.stat().st_size == before.st_size
    again = extraction(tmp_path).examples(few, 0)
    assert not same(first, again)
    assert len(cache_files(tmp_path)) == 2


def test_a_damaged_cache_file_is_computed_anew(few, tmp_path):
    first = extraction(tmp_path).examples(few, 0)
    (file,) = cache_files(tmp_path)
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for damaged in (whole[:middle], b"no archive", flipped):
        file.write_bytes(damaged)
        assert same(first, extraction(tmp_path).examples(few, 0))
        assert file.read_bytes() == whole


def test_recordings_that_give_nothing_are_named_with_the_reason(few, tmp_path):
    silent, broken, missing = (tmp_path / name for name in ("silent.wav", "broken.wav", "missing.wav"))
    soundfile.write(silent, np.zeros(RATE_HZ), RATE_HZ)
    broken.write_bytes(b"RIFF, or so it says")
    others = [Clip(path, "few", "s", None, None, "sad", "sad") for path in (silent, broken, missing)]
    for _ in ("computed", "from the cache"):
        made = extraction(tmp_path)
        found = made.examples([*few, *others], 0)
        assert {one.clip for one in found} == set(few)
        assert set(made.failed) == {silent, broken, missing}
        assert made.failed[silent] == "no speech found"
        assert "broken.wav" in made.failed[broken]
        assert "missing.wav" in made.failed[missing]
        # an unreadable recording was not drowned by the noise of its augmented copy
        made.examples([*few, *others], 1)
        assert made.n_drowned == 0


def test_views_differ_and_each_is_always_the_same(few, noise, tmp_path):
    plain = extraction(tmp_path, noise).examples(few, 0)
    one = extraction(tmp_path, noise).examples(few, 1)
    two = extraction(tmp_path, noise).examples(few, 2)
    assert not same(plain, one)
    assert not same(one, two)
    assert same(one, extraction(tmp_path / "elsewhere", noise).examples(few[::-1], 1))


def test_views_of_other_noises_are_not_taken_from_the_cache(few, noise, tmp_path):
    extraction(tmp_path, noise).examples(few, 1)
    extraction(tmp_path, Sounds([noise.noises[0][::-1].copy()], [])).examples(few, 1)
    assert len(cache_files(tmp_path)) == 2


def test_each_way_of_changing_copies_is_kept_apart(few, noise, tmp_path):
    found = []
    for changes in ("everything", "noise", "noise_pitch_speed"):
        recipe = replace(RECIPE, training=replace(RECIPE.training, changes=changes))
        found.append(Extraction(recipe, noise, tmp_path / "cache", n_processes=1).examples(few, 1))
    assert len(cache_files(tmp_path)) == 3
    assert not same(found[0], found[1])
    assert not same(found[1], found[2])
    # as they are, recordings are the same for all of them
    for changes in ("everything", "noise"):
        recipe = replace(RECIPE, training=replace(RECIPE.training, changes=changes))
        Extraction(recipe, noise, tmp_path / "cache", n_processes=1).examples(few, 0)
    assert len(cache_files(tmp_path)) == 4


def test_scenes_are_cut_by_the_gate_and_kept(tmp_path):
    counted: list[int] = []
    recipe = tiny(RECIPE)
    found = Extraction(recipe, Sounds([], []), tmp_path, 1).scenes(counted.append)
    assert sum(counted) == recipe.training.n_scenes
    assert found
    assert all(one.shape[1] == recipe.features.n_features and one.dtype == np.float16 for one in found)
    again = Extraction(recipe, Sounds([], []), tmp_path, 1).scenes()
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    assert len(list(tmp_path.glob("*.npz"))) == 1


def test_an_interrupted_extraction_leaves_no_half_file(few, tmp_path):
    def interrupt(n: int) -> None:
        if n:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extraction(tmp_path).examples(few, 0, interrupt)
    assert cache_files(tmp_path) == []
    assert len(extraction(tmp_path).examples(few, 0)) == 3


def test_a_short_segment_beside_a_long_one_trains_nothing(clips, tmp_path):
    samples = read_recording(clips[0].path)
    cut_off = samples[RATE_HZ // 2 : RATE_HZ // 2 + 3200]
    path = tmp_path / "cut.wav"
    soundfile.write(path, np.concatenate([samples, 0 * samples, cut_off]), RATE_HZ)
    device = FrontEnd(RECIPE.features, RECIPE.gate, 32).segments(read_recording(path))
    (found,) = extraction(tmp_path).examples([Clip(path, "few", "s", None, None, "sad", "sad")], 0)
    assert len(device) == 2
    assert len(device[1]) < 40 < len(found.features) == len(device[0])
