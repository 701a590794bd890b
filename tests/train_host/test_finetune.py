"""The batches a network is moved towards one person with."""

from dataclasses import replace

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edge.labels import EMOTIONS  # noqa: E402
from train_host.dataset import Example, Extraction  # noqa: E402
from train_host.finetune import BATCH, FineTuner  # noqa: E402
from train_host.train import load_model, predict, validation_inputs  # noqa: E402


@pytest.mark.slow
def test_emotions_count_alike_and_nothing_is_learned_of_the_others(run, clips, no_sounds):
    info, recipe, model = load_model(run)
    examples = Extraction(recipe, no_sounds).examples(clips, 0)
    angry, sad = ([one for one in examples if one.clip.emotion == emotion] for emotion in ("angry", "sad"))
    tuner = FineTuner(model, recipe, info)
    truth = np.zeros(8)
    for seed in range(10):
        (features, valid), targets = tuner.batch([*angry, *sad[:1]], np.random.default_rng(seed))
        assert features.shape == (BATCH, recipe.training.crop_frames, recipe.features.n_features)
        assert np.isfinite(features).all()
        assert np.all(valid.any(axis=1))
        assert np.all(targets[:, :8].sum(axis=1) == 1)
        assert {EMOTIONS[i] for i in np.flatnonzero(targets[0, 8:])} == {"angry", "sad"}
        truth += targets[:, :8].sum(axis=0)
    share = truth[EMOTIONS.index("angry")] / truth.sum()
    assert 0.35 < share < 0.65
    assert truth[[i for i, name in enumerate(EMOTIONS) if name not in ("angry", "sad")]].sum() == 0


@pytest.mark.slow
def test_a_network_learns_what_it_was_told_and_is_restored(run, clips, no_sounds):
    info, recipe, model = load_model(run)
    examples = Extraction(recipe, no_sounds).examples([one for one in clips if one.speaker == "anna"], 0)
    other_way = {"happy": "angry", "angry": "happy"}
    told = [
        Example(one.features, replace(one.clip, emotion=other_way.get(one.clip.emotion, one.clip.emotion)))
        for one in examples
    ]
    inputs, truth, _ = validation_inputs(told, recipe, info)

    def right() -> float:
        return float(np.mean(predict(model, inputs)[:, :8].argmax(axis=1) == truth))

    before = right()
    tuner = FineTuner(model, recipe, info)
    tuner.fit(told)
    assert before <= 0.6
    assert right() >= 0.85
    tuner.restore()
    assert right() == before
