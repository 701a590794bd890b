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
    for one, answer, confidence in zip(few[:-2], found.answers, found.confidence, strict=False):
        pipeline, samples = Pipeline(loaded), read_recording(one.path)
        events = [*pipeline.push(samples), *pipeline.flush()]
        result = summarize([e for e in events if isinstance(e, Detection)], loaded, len(samples) / 16000)
        assert EMOTIONS[answer] == result.label
        assert confidence == pytest.approx(result.confidence, abs=1e-6)
    assert found.answers[-2:].tolist() == [-1, -1]
