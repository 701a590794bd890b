import zlib

import numpy as np
import pytest

from edge.frontend import FrontEnd
from train_host.golden import golden_signal
from train_host.recipes import RECIPES


def test_the_signal_is_always_the_same():
    first, second = golden_signal(), golden_signal()
    assert zlib.crc32(first.tobytes()) == zlib.crc32(second.tobytes())
    assert first.dtype == np.int16
    assert 3 < len(first) / 16000 < 5
    assert 0.35 < np.abs(first).max() / 32768 < 0.45


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_hears_its_two_phrases(recipe):
    segments = FrontEnd(recipe.features, recipe.gate, 32).segments(golden_signal().astype(np.float32) / 32768)
    assert len(segments) == 2
    assert all(len(segment) * recipe.features.hop_ms > 800 for segment in segments)


def test_a_low_and_a_high_voice():
    features = RECIPES["tonelight"].features
    segments = FrontEnd(features, RECIPES["tonelight"].gate, 32).segments(golden_signal().astype(np.float32) / 32768)
    pitches_hz = []
    for segment in segments:
        octaves, voicing = segment[:, features.slices["pitch"]].T
        hz = 100 * 2 ** (octaves / np.maximum(voicing, 1e-3))[voicing > 0.7]
        pitches_hz.append(np.median(hz[: len(hz) // 3]))  # of the first vowel
    low, high = pitches_hz
    assert 105 < low < 130
    assert 220 < high < 265
