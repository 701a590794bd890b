"""The classifier with the model that ships, whatever it was trained on; the window form with an untrained one."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from bundles import untrained_window_bundle, with_constants

from edge.bundle import Bundle, StreamModel, WindowModel, default_bundle_path, load_bundle
from edge.classifier import Classifier, load_runtime
from edge.errors import BundleError
from edge.smoothing import posterior


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    loaded = load_bundle(default_bundle_path())
    assert isinstance(loaded.manifest.model, StreamModel)
    return loaded


@pytest.fixture(scope="module")
def window_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An untrained LSTM over windows."""
    return untrained_window_bundle(tmp_path_factory.mktemp("window") / "bundle")


def rows(bundle: Bundle, n: int, seed: int = 0) -> np.ndarray:
    """Normalised features of an imagined voice, `(n, n_features)`: noise that drifts."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, bundle.manifest.features.n_features))
    return (0.5 * features + np.sin(np.arange(n) / 20 + seed)[:, None]).astype(np.float32)


def run(classifier: Classifier, features: np.ndarray) -> list[np.ndarray | None]:
    """Logits after each chunk of one segment."""
    n = classifier._spec.chunk_frames
    return [classifier.step(features[start : start + n]) for start in range(0, len(features), n)]


def same(found: list[np.ndarray | None], expected: list[np.ndarray | None]) -> bool:
    return len(found) == len(expected) and all(
        (a is None and b is None) or (a is not None and b is not None and a.tobytes() == b.tobytes())
        for a, b in zip(found, expected, strict=True)
    )


def replaced(bundle: Bundle, **changes: Any) -> Bundle:
    model = msgspec.structs.replace(bundle.manifest.model, **changes)
    return dataclasses.replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, model=model))


# The stream form ------------------------------------------------------------------------------------------------------


def test_answers_with_the_logits_of_the_segment_so_far(bundle):
    logits = run(Classifier(bundle), rows(bundle, 200))
    for row in logits:
        assert row is not None
        assert row.shape == (len(bundle.labels) + bundle.manifest.model.hears_speech,)
        assert row.dtype == np.float32
        assert np.isfinite(row).all()
    assert not same(logits[:1], logits[-1:])  # it goes on listening


def test_runs_alike_every_time(bundle):
    assert same(run(Classifier(bundle), rows(bundle, 200)), run(Classifier(bundle), rows(bundle, 200)))


def test_reset_leaves_nothing_of_the_segment_before(bundle):
    expected = run(Classifier(bundle), rows(bundle, 150))
    classifier = Classifier(bundle)
    run(classifier, rows(bundle, 300, seed=1))
    assert not same(run(classifier, rows(bundle, 150)), expected)
    classifier.reset()
    assert same(run(classifier, rows(bundle, 150)), expected)


def test_answers_are_the_caller_s_to_keep(bundle):
    classifier = Classifier(bundle)
    first = classifier.step(rows(bundle, 32)[: classifier._spec.chunk_frames])
    assert first is not None
    kept = first.copy()
    run(classifier, rows(bundle, 100, seed=1))
    classifier.reset()
    assert (first == kept).all()


def test_what_remains_below_a_step_is_not_seen(bundle):
    per_step = bundle.manifest.model.frames_per_step
    chunk = bundle.manifest.model.chunk_frames
    features = rows(bundle, 2 * chunk)
    plain, other = Classifier(bundle), Classifier(bundle)
    for classifier in (plain, other):
        classifier.step(features[:chunk])
    assert other.step(features[:0]) is None
    assert other.step(features[: per_step - 1]) is None
    assert same([other.step(features[chunk:])], [plain.step(features[chunk:])])


def test_a_short_last_chunk_is_not_taken_for_silence(bundle):
    # the rest of the chunk is padding: other logits than those of a chunk that ends in zeros
    chunk, per_step = bundle.manifest.model.chunk_frames, bundle.manifest.model.frames_per_step
    features = rows(bundle, chunk)
    features[2 * per_step :] = 0
    short, full = (Classifier(bundle).step(features[:n]) for n in (2 * per_step, chunk))
    assert short is not None and full is not None
    assert np.abs(short - full).max() > 1e-6


def test_padding_holds_nothing_of_the_chunk_before(bundle):
    chunk, per_step = bundle.manifest.model.chunk_frames, bundle.manifest.model.frames_per_step
    short = rows(bundle, per_step)
    expected = Classifier(bundle).step(short)
    classifier = Classifier(bundle)
    classifier.step(rows(bundle, chunk, seed=1))
    classifier.reset()
    assert same([classifier.step(short)], [expected])
    classifier.step(rows(bundle, chunk, seed=1))
    classifier.step(short)
    assert not classifier._features[0, per_step:].any()


# Model and manifest that do not belong together -----------------------------------------------------------------------


def refused(bundle: Bundle, *named: str) -> None:
    with pytest.raises(BundleError) as caught:
        Classifier(bundle)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    for name in ("model.tflite", *named):
        assert name in line


@pytest.mark.parametrize("change", [lambda m: b"", lambda m: m[:100], lambda m: m[: len(m) // 2], lambda m: b"x" * 999])
def test_what_is_no_model(bundle, change: Callable[[bytes], bytes]):
    refused(dataclasses.replace(bundle, model=change(bundle.model)), "not a model")


@pytest.mark.parametrize("key", ["features_input", "valid_input", "logits_output"])
def test_a_tensor_of_another_name(bundle, key):
    refused(replaced(bundle, **{key: "elsewhere:0"}), "'elsewhere:0'", getattr(bundle.manifest.model, key))


def test_tensors_of_another_shape(bundle):
    model = bundle.manifest.model
    refused(replaced(bundle, chunk_frames=model.chunk_frames * 2), model.features_input)
    refused(replaced(bundle, frames_per_step=model.chunk_frames), model.valid_input)
    refused(replaced(bundle, features_input=model.valid_input), model.valid_input)
    state = msgspec.structs.replace(model.states[0], shape=(1, 3))
    refused(replaced(bundle, states=(state, *model.states[1:])), state.input)


def test_labels_the_model_does_not_know(bundle):
    manifest = msgspec.structs.replace(bundle.manifest, labels=bundle.labels[:-1])
    refused(dataclasses.replace(bundle, manifest=manifest), bundle.manifest.model.logits_output)


def test_features_the_model_does_not_take(bundle):
    features = msgspec.structs.replace(bundle.manifest.features, columns=("rms", "zcr"))
    manifest = msgspec.structs.replace(bundle.manifest, features=features)
    refused(dataclasses.replace(bundle, manifest=manifest), bundle.manifest.model.features_input)


def test_a_state_that_is_not_handed_back(bundle):
    states = bundle.manifest.model.states
    refused(replaced(bundle, states=states[1:]), states[0].input, "each must be used once")
    refused(replaced(bundle, states=()), states[0].input)


def test_a_state_that_is_handed_back_twice(bundle):
    states = bundle.manifest.model.states
    a, b = next((a, b) for a in states for b in states if a != b and a.shape == b.shape)
    crossed = tuple(msgspec.structs.replace(s, output=b.output) if s == a else s for s in states)
    refused(replaced(bundle, states=crossed), a.output)
    doubled = tuple(msgspec.structs.replace(s, input=b.input) if s == a else s for s in states)
    refused(replaced(bundle, states=doubled), a.input)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_answers_with_no_numbers(bundle, value):
    broken = with_constants(bundle.model, lambda constant: np.full_like(constant, value))
    classifier = Classifier(dataclasses.replace(bundle, model=broken))
    with pytest.raises(BundleError, match=r"model\.tflite answered with numbers that are not finite") as caught:
        run(classifier, rows(bundle, 100))
    assert len(str(caught.value).splitlines()) == 1


def test_features_that_are_no_numbers_give_no_answer(bundle):
    with pytest.raises(BundleError, match="not finite"):
        run(Classifier(bundle), np.full_like(rows(bundle, 100), 1e38))


def test_the_runtime_says_its_name_and_version():
    _, name = load_runtime()
    assert name.split()[0] in ("ai-edge-litert", "tflite-runtime")
    assert name.split()[1][0].isdigit()


# The window form ------------------------------------------------------------------------------------------------------


@pytest.fixture
def windows(window_bundle: Bundle) -> Iterator[Classifier]:
    yield Classifier(window_bundle)


@pytest.mark.slow
def test_window_answers_from_the_first_chunk_on(window_bundle, windows):
    assert isinstance(window_bundle.manifest.model, WindowModel)
    logits = run(windows, rows(window_bundle, 420))
    assert all(row is not None and row.shape == (8,) and np.isfinite(row).all() for row in logits)
    assert windows.step(rows(window_bundle, 0)) is None


@pytest.mark.slow
def test_window_reset_leaves_nothing_of_the_segment_before(window_bundle, windows):
    expected = run(windows, rows(window_bundle, 170))
    windows.reset()
    run(windows, rows(window_bundle, 400, seed=1))
    windows.reset()
    assert same(run(windows, rows(window_bundle, 170)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 300, 350, 400, 1000, 1015])
def test_window_depends_on_the_last_frames_alone(window_bundle, n):
    # the fused LSTM keeps variables between calls: each window must start from nothing
    model = window_bundle.manifest.model
    features = rows(window_bundle, n)
    *_, found = run(Classifier(window_bundle), features)
    *_, expected = run(Classifier(window_bundle), features[-model.window_frames :])
    assert found is not None and expected is not None
    assert same([found], [expected])


@pytest.mark.slow
def test_window_is_filled_up_with_zeros_after_the_last_frame(window_bundle):
    model = window_bundle.manifest.model
    features = rows(window_bundle, 60)
    *_, found = run(Classifier(window_bundle), features)
    padded = np.zeros((model.window_frames, features.shape[1]), np.float32)
    padded[:60] = features
    *_, expected = run(Classifier(window_bundle), padded)
    assert same([found], [expected])


@pytest.mark.slow
def test_window_looks_at_all_of_the_window(window_bundle):
    features = rows(window_bundle, 300)
    *_, plain = run(Classifier(window_bundle), features)
    features[-1] += 3
    *_, changed = run(Classifier(window_bundle), features)
    assert plain is not None and changed is not None
    assert np.abs(posterior(plain, 1) - posterior(changed, 1)).max() > 1e-5


@pytest.mark.slow
def test_window_of_another_length_is_refused(window_bundle):
    refused(replaced(window_bundle, window_frames=299), window_bundle.manifest.model.features_input)
