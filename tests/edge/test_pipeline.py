"""The pipeline with the model that ships. Which emotion it hears is its own affair; that it does not depend on blocks,
gaps and what was before is checked here."""

import dataclasses
import functools
import gc
import io
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundles import (
    copy_bundle,
    fix_hashes,
    untrained_hearing_bundle,
    untrained_window_bundle,
    with_constants,
    write_bundle,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import RATE_HZ, Float32, blocks, noise, phrase, pieces, silence, talk

from edge.bundle import GOLDEN, MODEL, Bundle, default_bundle_path, load_bundle
from edge.errors import BundleError
from edge.events import Detection, Score
from edge.labels import HIGH, LOW
from edge.pipeline import FileResult, Pipeline, summarize, verify_golden

BLOCK_LENGTHS = [16, 160, 320, 512, 1000, RATE_HZ, 10 * RATE_HZ]
"""1 ms to 10 s."""


@functools.cache
def bundle() -> Bundle:
    """What ships, but for its doubts that these signals are voices: they are not."""
    shipped = load_bundle(default_bundle_path())
    decision = msgspec.structs.replace(shipped.manifest.decision, speech_from=0.0)
    return dataclasses.replace(shipped, manifest=msgspec.structs.replace(shipped.manifest, decision=decision))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    """One for all tests that reset it first."""
    return Pipeline(bundle())


def hear(pipeline: Pipeline, *parts: Float32) -> list[Score | Detection]:
    """All events of a stream of its own."""
    pipeline.reset()
    return [*(event for part in parts for event in pipeline.push(part)), *pipeline.flush()]


def detections(events: Sequence[Score | Detection]) -> list[Detection]:
    return [event for event in events if isinstance(event, Detection)]


def scores(events: Sequence[Score | Detection]) -> list[Score]:
    return [event for event in events if isinstance(event, Score)]


def assert_same(found: Sequence[Score | Detection], expected: Sequence[Score | Detection]) -> None:
    """The same events; shares may differ by as much as a matrix product rounds."""
    assert [type(event) for event in found] == [type(event) for event in expected]
    for a, b in zip(found, expected, strict=True):
        assert [*a.probs.values()] == pytest.approx([*b.probs.values()], abs=1e-3)
        if isinstance(a, Detection) and isinstance(b, Detection):
            assert (a.start_s, a.end_s) == (b.start_s, b.end_s)
        elif isinstance(a, Score) and isinstance(b, Score):
            assert a.time_s == b.time_s


@functools.cache
def golden_samples() -> Float32:
    with np.load(bundle().path / GOLDEN) as golden:
        return golden["samples"].astype(np.float32) / np.float32(32768)


# Streaming equals the whole -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", BLOCK_LENGTHS)
@pytest.mark.parametrize("signal", [talk, golden_samples], ids=["talk", "golden"])
def test_blocks_of_any_length_give_the_answer_of_the_whole(pipeline, signal: Callable[[], Float32], length):
    whole = hear(pipeline, signal())
    assert detections(whole)
    assert_same(hear(pipeline, *blocks(signal(), length)), whole)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 20_000), max_size=12))
def test_any_cut_gives_the_answer_of_the_whole(pipeline, cuts):
    assert_same(hear(pipeline, *pieces(talk(), cuts)), hear(pipeline, talk()))


def test_events_come_as_soon_as_their_last_sample(pipeline):
    # a stretch is over when the silence after it has lasted for the hangover; no block later
    pipeline.reset()
    hangover_s = bundle().manifest.gate.hangover_ms / 1000
    n_heard = 0
    for block in blocks(talk(), 160):
        for event in pipeline.push(block):
            if isinstance(event, Detection):
                n_heard += 1
                assert pipeline.time_s - event.end_s == pytest.approx(hangover_s, abs=0.011)
            else:
                assert event.time_s <= pipeline.time_s
    assert n_heard == 3


# What is said ---------------------------------------------------------------------------------------------------------


def test_three_phrases_are_three_detections(pipeline):
    found = detections(hear(pipeline, talk()))
    for detection, (start_s, end_s) in zip(found, [(0.6, 1.9), (2.8, 3.6), (5.01, 6.11)], strict=True):
        assert detection.start_s == pytest.approx(start_s, abs=0.16)
        assert detection.end_s == pytest.approx(end_s, abs=0.06)


def test_a_detection_is_what_its_shares_say(pipeline):
    threshold = bundle().manifest.decision.uncertain_below
    for detection in detections(hear(pipeline, talk())):
        assert tuple(detection.probs) == bundle().labels
        assert sum(detection.probs.values()) == pytest.approx(1, abs=1e-5)
        assert detection.probs[detection.label] == max(detection.probs.values()) == detection.confidence
        assert detection.uncertain == (detection.confidence < threshold)


def test_the_activation_of_a_detection_is_that_of_its_shares(pipeline):
    decision = bundle().manifest.decision
    for detection in detections(hear(pipeline, talk())):
        high, low = (sum(detection.probs[emotion] for emotion in kind) for kind in (HIGH, LOW))
        log_odds = decision.activation_scale * np.log(high / low) + decision.activation_offset
        assert detection.activation == pytest.approx(1 / (1 + np.exp(-log_odds)), abs=1e-5)


def test_the_activation_of_a_score_is_that_of_its_smoothed_shares(pipeline):
    decision = bundle().manifest.decision
    heard = scores(hear(pipeline, talk()))
    for score in heard:
        high, low = (sum(score.probs[emotion] for emotion in kind) for kind in (HIGH, LOW))
        log_odds = decision.activation_scale * np.log(high / low) + decision.activation_offset
        assert score.activation == pytest.approx(1 / (1 + np.exp(-log_odds)), abs=1e-5)
    assert len({round(score.activation, 3) for score in heard}) > 3


def test_scores_go_along_while_somebody_speaks(pipeline):
    events = hear(pipeline, talk())
    times_s = [score.time_s for score in scores(events)]
    assert times_s == sorted(times_s)
    assert len(times_s) > 10
    decision = bundle().manifest.decision
    for score in scores(events):
        assert tuple(score.probs) == bundle().labels
        assert sum(score.probs.values()) == pytest.approx(1, abs=1e-5)
        if score.label is None:
            assert score.confidence == max(score.probs.values()) < decision.enter
        else:
            assert score.confidence == score.probs[score.label] >= decision.exit
    assert isinstance(events[-1], Detection)


@pytest.mark.parametrize("samples", [silence(3), noise(3, -75), np.full(3 * RATE_HZ, 0.25, np.float32)])
def test_silence_says_nothing(pipeline, samples):
    assert hear(pipeline, samples) == []


def test_nothing_says_nothing(pipeline):
    assert hear(pipeline) == []
    assert hear(pipeline, silence(0)) == []
    assert pipeline.time_s == 0


def test_extreme_samples_are_heard_without_harm(pipeline):
    square = np.where(np.arange(2 * RATE_HZ) // 50 % 2, 1, -1).astype(np.float32)
    tiny = np.full(RATE_HZ, 1e-40, np.float32)
    for event in hear(pipeline, tiny, square, tiny, -square, tiny):
        assert np.isfinite([*event.probs.values()]).all()
    assert_same(hear(pipeline, talk()), hear(Pipeline(bundle()), talk()))


# State ----------------------------------------------------------------------------------------------------------------


def test_reset_starts_a_new_stream(pipeline):
    fresh = hear(Pipeline(bundle()), talk())
    hear(pipeline, 3 * phrase(300, 350, 2), silence(1))
    pipeline.push(phrase(200, 300, 0.7))  # in the middle of speech
    pipeline.reset()
    assert not pipeline.speaking
    assert (pipeline.time_s, pipeline.silence_s, pipeline.level_db) == (0, 0, -100)
    assert hear(pipeline, talk()) == fresh


def test_statistics_live_as_long_as_the_stream(pipeline):
    said = np.concatenate([silence(1), phrase(120, 140, 1), silence(1)])
    first, second = detections(hear(pipeline, said, said))
    # the level of speech and the speaker's means are known better the second time
    assert first.probs != second.probs
    (again,) = detections(hear(pipeline, said))
    assert again == first


def test_reset_forgets_the_running_means():
    # of every column, whatever the model that ships has
    manifest = bundle().manifest
    running = msgspec.structs.replace(manifest.normalizer, running=(True,) * manifest.features.n_features)
    pipeline = Pipeline(dataclasses.replace(bundle(), manifest=msgspec.structs.replace(manifest, normalizer=running)))
    said = np.concatenate([silence(1), phrase(120, 140, 1), silence(1)])
    fresh = hear(pipeline, said)
    assert detections(pipeline.push(said))[0].probs != detections(fresh)[0].probs
    assert hear(pipeline, said) == fresh


def test_nothing_but_statistics_outlives_a_segment():
    # without them, a phrase gets the same answer a minute and many phrases later: the model's state was reset. What is
    # left of the statistics is the offset, which a faint room noise drowns.
    manifest = bundle().manifest
    forgetful = msgspec.structs.replace(
        manifest,
        features=msgspec.structs.replace(manifest.features, level_memory_s=0),
        normalizer=msgspec.structs.replace(manifest.normalizer, running=(False,) * manifest.features.n_features),
    )
    pipeline = Pipeline(dataclasses.replace(bundle(), manifest=forgetful))
    said = np.concatenate([silence(1), phrase(120, 140, 1), silence(1)]) + noise(3, -70)
    between = np.concatenate([np.concatenate([phrase(hz, hz + 50, 1), silence(1)]) for hz in range(100, 300, 10)])
    first, *others, last = detections(hear(pipeline, said, between, said))
    assert len(others) == 20
    assert last.probs == pytest.approx(first.probs, abs=0.01)
    distance_s = (len(said) + len(between)) / RATE_HZ
    assert last.start_s - first.start_s == pytest.approx(distance_s)
    assert last.end_s - first.end_s == pytest.approx(distance_s)
    assert {*others[0].probs.values()} != {*first.probs.values()}  # it does listen


def test_what_is_too_short_is_forgotten(pipeline):
    # a knock opens the gate, but not for long enough
    knock = np.concatenate([silence(1), noise(0.1, -20), silence(1)])
    assert detections(hear(pipeline, knock)) == []
    pipeline.push(knock)
    pipeline.flush()
    assert pipeline._logits is None


def test_flush_ends_what_is_being_said(pipeline):
    pipeline.reset()
    said = np.concatenate([silence(1), phrase(120, 140, 1)])
    assert detections(pipeline.push(said)) == []
    assert pipeline.speaking
    (detection,) = detections(pipeline.flush())
    assert detection.end_s == pytest.approx(2, abs=0.05)
    assert not pipeline.speaking
    assert pipeline.flush() == []


def test_time_goes_on_after_a_flush(pipeline):
    pipeline.reset()
    for _ in range(10):
        pipeline.push(silence(0.1234))
        pipeline.flush()
    n_samples = 10 * len(silence(0.1234))
    assert pipeline.time_s == pytest.approx(n_samples / RATE_HZ)
    (detection,) = detections([*pipeline.push(np.concatenate([silence(1), phrase(120, 140, 1)])), *pipeline.flush()])
    assert detection.end_s == pytest.approx(n_samples / RATE_HZ + 2, abs=0.05)


def test_silence_is_counted_from_the_end_of_speech(pipeline):
    pipeline.reset()
    pipeline.push(silence(2))
    assert pipeline.silence_s == pytest.approx(2, abs=0.03)
    pipeline.push(phrase(120, 140, 1))
    assert pipeline.speaking
    assert pipeline.silence_s == 0
    (detection,) = detections(pipeline.push(silence(4)))
    assert not pipeline.speaking
    assert pipeline.silence_s == pytest.approx(pipeline.time_s - detection.end_s)
    assert pipeline.silence_s == pytest.approx(4, abs=0.06)
    # a knock does not count as speech
    pipeline.push(np.concatenate([noise(0.1, -20), silence(1)]))
    assert pipeline.silence_s == pytest.approx(5.1, abs=0.06)


def test_what_is_taken_for_no_speech_is_not_answered(tmp_path):
    hearing = untrained_hearing_bundle(tmp_path / "hearing")
    assert hearing.manifest.model.hears_speech

    def with_threshold(speech_from: float) -> Pipeline:
        decision = msgspec.structs.replace(hearing.manifest.decision, speech_from=speech_from)
        return Pipeline(
            dataclasses.replace(hearing, manifest=msgspec.structs.replace(hearing.manifest, decision=decision))
        )

    everything = hear(with_threshold(0), talk())
    assert len(detections(everything)) == 3
    assert all(len(event.probs) == 8 and sum(event.probs.values()) == pytest.approx(1) for event in everything)
    deaf = with_threshold(0.999)
    assert hear(deaf, talk()) == []
    assert deaf.silence_s == pytest.approx(deaf.time_s)
    verify_golden(hearing)  # whatever it thinks of the golden signal, it can be compared


def test_the_level_is_that_of_now(pipeline):
    pipeline.reset()
    for level_db in (-30, -50, -10):
        pipeline.push(noise(0.5, level_db))
        assert pipeline.level_db == pytest.approx(level_db, abs=1.5)


def test_ten_minutes_take_no_more_memory_than_two(pipeline):
    voices = [np.concatenate([phrase(hz, hz + 40, 1.6), noise(1.4, -75)]) for hz in (100, 150, 200, 250)]
    pipeline.reset()
    n_detections = 0

    def listen(minutes: float) -> None:
        nonlocal n_detections
        for i in range(round(minutes * 20)):
            for block in blocks(voices[i % len(voices)], 1600):
                n_detections += len(detections(pipeline.push(block)))
        gc.collect()

    listen(2)
    tracemalloc.start()
    try:
        listen(0.2)  # whatever is filled once
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        listen(7.8)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_detections == 200
    assert after - before < 50_000
    assert peak - before < 5_000_000


# A whole recording ----------------------------------------------------------------------------------------------------


def detection(start_s: float, end_s: float, **probs: float) -> Detection:
    shares = dict.fromkeys(bundle().labels, 0.0) | probs
    label = max(shares, key=lambda name: shares[name])
    return Detection(start_s, end_s, label, shares[label], shares, False, 0.5)


def test_a_recording_is_the_mean_of_its_stretches_by_length():
    result = summarize([detection(0, 1, happy=1), detection(2, 5, happy=0.2, sad=0.8)], bundle(), seconds=6.5)
    assert (result.seconds, result.segments, result.label) == (6.5, 2, "sad")
    assert result.confidence == pytest.approx(0.6)
    assert result.probs["happy"] == pytest.approx(0.4)
    assert sum(result.probs.values()) == pytest.approx(1)
    assert tuple(result.probs) == bundle().labels
    assert result.uncertain == (result.confidence < bundle().manifest.decision.uncertain_below)
    # of the mean: 0.4 high, 0.6 low
    decision = bundle().manifest.decision
    log_odds = decision.activation_scale * np.log(2 / 3) + decision.activation_offset
    assert result.activation == pytest.approx(1 / (1 + np.exp(-log_odds)), abs=1e-5)


def test_a_recording_of_one_stretch_is_that_stretch(pipeline):
    (one,) = detections(hear(pipeline, silence(1), phrase(120, 140, 1), silence(1)))
    result = summarize([one], bundle(), 3)
    assert (result.label, result.uncertain) == (one.label, one.uncertain)
    assert result.confidence == pytest.approx(one.confidence, abs=1e-6)
    assert result.activation == pytest.approx(one.activation, abs=1e-6)


def test_a_recording_without_speech_has_no_label():
    assert summarize([], bundle(), 2) == FileResult(2, 0, None, 0.0, {}, True, None)


# The golden signal ----------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return copy_bundle(tmp_path)


def verify(folder: Path) -> None:
    fix_hashes(folder)
    verify_golden(load_bundle(folder))


def refused(folder: Path, *named: str) -> None:
    with pytest.raises(BundleError) as caught:
        verify(folder)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    for name in named:
        assert name in line


def rewrite(folder: Path, **changes: Callable[[np.ndarray], np.ndarray]) -> None:
    with np.load(folder / GOLDEN) as file:
        golden = {name: file[name] for name in file.files}
    for name, change in changes.items():
        golden[name] = change(golden[name])
    np.savez_compressed(folder / GOLDEN, **golden)


def test_the_default_bundle_computes_here_what_it_did_at_export():
    verify_golden(bundle())


def test_a_copy_passes_too(copy):
    verify(copy)
    rewrite(copy)
    verify(copy)


def test_another_model_is_found_out(copy):
    (copy / MODEL).write_bytes(with_constants((copy / MODEL).read_bytes(), lambda constant: -3 * constant))
    refused(copy, "golden signal", "probabilities")


def test_a_model_of_no_numbers_is_found_out(copy):
    (copy / MODEL).write_bytes(
        with_constants((copy / MODEL).read_bytes(), lambda constant: np.full_like(constant, np.nan))
    )
    refused(copy, "model.tflite", "not finite")


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("features", lambda a: a + 0.01, "features"),
        ("features", lambda a: a[:-1], "features"),
        ("features", lambda a: np.full_like(a, np.nan), "features"),
        ("probabilities", lambda a: a + 0.03, "probabilities"),
        ("probabilities", lambda a: a[:, ::-1], "probabilities"),
        ("probabilities", lambda a: a[:1], "probabilities"),
        ("probabilities", lambda a: a[:, :-1], "probabilities"),
        ("probabilities", lambda a: np.full_like(a, np.nan), "probabilities"),
        ("samples", lambda a: a // 2, "features"),
        ("samples", lambda a: np.roll(a, 3000)[::-1], "features"),
        ("samples", lambda a: a[:8000], "features"),
    ],
)
def test_other_answers_are_found_out(copy, name, change, named):
    rewrite(copy, **{name: change})
    refused(copy, named, "golden signal")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("samples", lambda a: a.reshape(2, -1)),
        ("samples", lambda a: a.astype(str)),
        ("samples", lambda a: a.astype(complex)),
        ("samples", lambda a: a[0]),
        ("features", lambda a: a.astype(object)),
        ("features", lambda a: a.astype("S4")),
        ("probabilities", lambda a: np.array("much")),
        ("probabilities", lambda a: a[0, 0]),
        ("probabilities", lambda a: a[:0]),
    ],
)
def test_a_golden_file_of_something_else_is_named(copy, name, change):
    rewrite(copy, **{name: change})
    refused(copy, GOLDEN)


@pytest.mark.parametrize(
    ("found", "put"),
    [
        (b"(", b"(10000000000000000,"),
        (b"(", b"(99999999999999999999999,"),
        (b"(", b"((("),
        (b"NUMPY", b"numpy"),
        (b"{", b"\x00"),
    ],
)
def test_a_golden_file_of_damaged_arrays_is_named(copy, found, put):
    with zipfile.ZipFile(copy / GOLDEN) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(copy / GOLDEN, "w") as file:
        for name, content in members.items():
            file.writestr(name, content.replace(found, put, 1))
    refused(copy, GOLDEN)


def test_a_golden_file_in_a_zip_of_another_kind_is_named(copy):
    content = (copy / GOLDEN).read_bytes()
    entry = content.index(b"PK\x01\x02")
    (copy / GOLDEN).write_bytes(content[: entry + 6] + b"\xff" + content[entry + 7 :])
    refused(copy, GOLDEN)


def test_a_golden_file_without_speech_proves_nothing(copy):
    n = bundle().manifest.features.n_features
    rewrite(
        copy,
        samples=np.zeros_like,
        features=lambda a: np.zeros((0, n), np.float32),
        probabilities=lambda a: a[:0],
    )
    refused(copy, GOLDEN, "proves nothing")


def saved(save: Callable[..., None], *arrays: np.ndarray, **named: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"no archive at all",
        saved(np.save, np.zeros(4)),
        saved(np.savez, np.zeros(4)),
        saved(np.savez, samples=np.zeros(4), features=np.zeros(4)),
    ],
    ids=["empty", "magic", "text", "npy", "unnamed", "incomplete"],
)
def test_a_golden_file_that_is_none_is_named(copy, content):
    (copy / GOLDEN).write_bytes(content)
    refused(copy, GOLDEN, "cannot be read")


@pytest.mark.parametrize("where", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_damaged_golden_file_is_found_out(copy, where):
    content = bytearray((copy / GOLDEN).read_bytes())
    n = round(where * len(content))
    (copy / GOLDEN).write_bytes(content[:n])
    refused(copy, GOLDEN, "cannot be read")
    content[n : n + 8] = b"\xa5" * 8
    (copy / GOLDEN).write_bytes(content)
    refused(copy)


# The window form ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return untrained_window_bundle(tmp_path_factory.mktemp("windows") / "bundle")


@pytest.mark.slow
def test_window_bundle_is_whole_and_computes_what_it_did(windows):
    assert load_bundle(windows.path).id.startswith("window-")
    verify_golden(windows)


@pytest.mark.slow
@pytest.mark.parametrize("length", BLOCK_LENGTHS)
def test_window_blocks_of_any_length_give_the_answer_of_the_whole(windows, length):
    pipeline = Pipeline(windows)
    whole = hear(pipeline, talk())
    assert len(detections(whole)) == 3
    assert_same(hear(pipeline, *blocks(talk(), length)), whole)


@pytest.mark.slow
def test_window_state_ends_with_the_segment(windows):
    # this bundle keeps no statistics: the same phrase gets the same answer wherever it stands
    said = np.concatenate([silence(1), phrase(120, 140, 1), silence(1)])
    other = np.concatenate([phrase(200, 300, 4), silence(1)])
    first, between, last = detections(hear(Pipeline(windows), said, other, said))
    assert first.probs == last.probs
    assert between.probs != first.probs


@pytest.mark.slow
def test_window_bundle_with_another_model_is_found_out(windows, tmp_path):
    other = with_constants(
        windows.model, lambda constant: constant + 2 * np.arange(constant.size).reshape(constant.shape)
    )
    changed = write_bundle(tmp_path / "bundle", windows.manifest, other, np.round(32767 * talk()).astype(np.int16))
    verify_golden(changed)
    (changed.path / MODEL).write_bytes(windows.model)
    refused(changed.path, "golden signal", "probabilities")
