from pathlib import Path

import numpy as np
import pytest

from edge.labels import EMOTIONS
from train_host.corpora.clip import Clip
from train_host.scoring import Scores


def clip(emotion: str, corpus: str = "a", speaker: str = "s") -> Clip:
    return Clip(Path(f"{corpus}/{speaker}/{emotion}.wav"), corpus, speaker, None, None, emotion, emotion)


SCORES = Scores(
    (clip("neutral"), clip("neutral"), clip("sad"), clip("angry", "b"), clip("angry", "b")),
    np.array([0, 0, 4, 4, -1]),
    np.array([0.9, 0.7, 0.6, 0.8, 0.0]),
    np.array([False, True, False, False, True]),
    np.array([0.2, 0.3, 0.7, 0.9, np.nan]),
)


def test_figures_by_hand():
    assert SCORES.truth.tolist() == [0, 0, 3, 4, 4]
    assert SCORES.accuracy == pytest.approx(3 / 5)
    assert SCORES.uar == pytest.approx((1 + 0 + 0.5) / 3)
    assert SCORES.speech_found == pytest.approx(4 / 5)
    assert SCORES.confusion.shape == (8, 9)
    assert [tuple(int(i) for i in at) for at in np.argwhere(SCORES.confusion)] == [(0, 0), (3, 4), (4, 4), (4, 8)]
    # each in a bin of its own: 0.9 and 0.7 and 0.8 are right, 0.6 is wrong, no answer is 0 and wrong
    assert SCORES.calibration_error == pytest.approx((0.1 + 0.3 + 0.6 + 0.2 + 0) / 5)


def test_a_part_of_the_clips():
    part = SCORES.of(lambda one: one.corpus == "b")
    assert [one.emotion for one in part.clips] == ["angry", "angry"]
    assert part.answers.tolist() == [4, -1]
    assert part.confidence.tolist() == [0.8, 0.0]
    assert part.uar == 0.5
    assert part.uncertain.tolist() == [False, True]
    np.testing.assert_array_equal(part.activation, [0.9, np.nan])


def test_named_is_what_is_not_uncertain():
    assert SCORES.named == pytest.approx(3 / 5)
    assert SCORES.accuracy_named == pytest.approx(2 / 3)
    none = Scores(SCORES.clips, SCORES.answers, SCORES.confidence, np.ones(5, bool), SCORES.activation)
    assert none.named == 0
    assert np.isnan(none.accuracy_named)


def test_activation_by_hand():
    # low: neutral 0.2, neutral 0.3, sad 0.7; high: angry 0.9, angry unheard
    assert SCORES.activation_uar == pytest.approx((2 / 3 + 1 / 2) / 2)
    # confidences 0.8 right, 0.7 right and 0.7 wrong in one bin, 0.9 right, 0 wrong
    assert SCORES.activation_calibration_error == pytest.approx((0.2 + 2 * (0.7 - 0.5) + 0.1 + 0) / 5)


def test_disgust_counts_for_neither():
    with_disgust = Scores(
        (*SCORES.clips, clip("disgusted")),
        np.append(SCORES.answers, 6),
        np.append(SCORES.confidence, 0.9),
        np.append(SCORES.uncertain, False),
        np.append(SCORES.activation, 0.9),
    )
    assert with_disgust.activation_uar == SCORES.activation_uar
    assert with_disgust.activation_calibration_error == SCORES.activation_calibration_error
    alone = with_disgust.of(lambda one: one.emotion == "disgusted")
    assert np.isnan(alone.activation_uar)
    assert np.isnan(alone.activation_calibration_error)


@pytest.mark.slow
def test_the_bundle_answers_as_the_device_does(bundle, clips, tmp_path):
    import soundfile

    from edge.bundle import load_bundle
    from edge.events import Detection
    from edge.pipeline import Pipeline, summarize
    from train_host.recordings import read_recording
    from train_host.scoring import score

    silent, broken = tmp_path / "silent.wav", tmp_path / "broken.wav"
    soundfile.write(silent, np.zeros(16000), 16000)
    broken.write_bytes(b"no recording")
    few = [*clips[::12], *(Clip(path, "x", "s", None, None, "sad", "sad") for path in (silent, broken))]
    done: list[int] = []
    found = score(bundle, few, lambda: done.append(1), n_processes=2)
    assert len(done) == len(few)
    assert found.clips == tuple(few)
    loaded = load_bundle(bundle)
    for i, one in enumerate(few[:-2]):
        pipeline, samples = Pipeline(loaded), read_recording(one.path)
        events = [*pipeline.push(samples), *pipeline.flush()]
        result = summarize([e for e in events if isinstance(e, Detection)], loaded, len(samples) / 16000)
        assert EMOTIONS[found.answers[i]] == result.label
        assert found.confidence[i] == pytest.approx(result.confidence, abs=1e-6)
        assert found.uncertain[i] == result.uncertain
        assert found.activation[i] == pytest.approx(result.activation, abs=1e-6)
    assert found.answers[-2:].tolist() == [-1, -1]
    assert found.uncertain[-2:].all()
    assert np.isnan(found.activation[-2:]).all()
