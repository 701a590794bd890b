"""Results of made-up counts, whose figures can be computed by hand."""

import numpy as np

from edge.labels import EMOTIONS
from train_host.evaluate.result import N_BINS, N_COVERAGES, Bin, CorpusResult, Result, Speaker, uar

CLASSES = ("happy", "sad")
HAPPY, SAD = EMOTIONS.index("happy"), EMOTIONS.index("sad")


def counts(happy: tuple[int, int, int], sad: tuple[int, int, int]) -> tuple[tuple[int, ...], ...]:
    """Counts `(8, 9)` of happy and sad: answered happy, sad, not at all."""
    table = np.zeros((8, 9), int)
    for row, (as_happy, as_sad, none) in ((HAPPY, happy), (SAD, sad)):
        table[row, [HAPPY, SAD, 8]] = as_happy, as_sad, none
    return tuple(map(tuple, table.tolist()))


def speaker(name: str, happy: tuple[int, int, int], sad: tuple[int, int, int], gender="female", corpus="savee"):
    return Speaker(corpus, name, gender, counts(happy, sad), (happy, sad))


def outcome(*speakers: Speaker, **changes) -> Result:
    """A result of these speakers; the float model is always right, the device always answers calm."""
    corpora = {}
    for name in {one.corpus for one in speakers}:
        total = np.sum([one.emotions for one in speakers if one.corpus == name], axis=0)
        n_happy, n_sad = int(total[HAPPY].sum()), int(total[SAD].sum())
        n_activated = int(np.sum([one.activation for one in speakers if one.corpus == name]))
        activation_bins = [Bin(0, 0.0, 0)] * N_BINS
        activation_bins[13] = Bin(n_activated, 0.9 * n_activated, n_activated)
        n, n_right = n_happy + n_sad, int(np.trace(total))
        bins = [Bin(0, 0.0, 0)] * N_BINS
        bins[12] = Bin(n, 0.8 * n, n_right)
        calm = np.zeros((8, 9), int)
        calm[[HAPPY, SAD], 1] = n_happy, n_sad
        corpora[name] = CorpusResult(
            classes=CLASSES,
            all_answers=tuple(map(tuple, calm.tolist())),
            keras=counts((n_happy, 0, 0), (0, n_sad, 0)),
            calibration=tuple(bins),
            coverage=tuple(np.linspace(1, n_right / n, N_COVERAGES).tolist()),
            n_certain=n // 2,
            n_certain_right=n // 4,
            activation_calibration=tuple(activation_bins),
            activation_coverage=(1.0,) * N_COVERAGES,
        )
    fields = {
        "schema": 2,
        "protocol": "savee_loso",
        "split": "savee_loso/1",
        "n_folds": 2,
        "leaky": False,
        "trial": False,
        "recipe": "tonelight",
        "recipe_digest": "0" * 12,
        "seed": 0,
        "steps": 100,
        "uar": float(
            np.mean([uar(np.sum([s.emotions for s in speakers if s.corpus == c], axis=0)) for c in sorted(corpora)])
        ),
        "uar_float": 1.0,
        "n_train": 10,
        "n_val": 2,
        "n_test": 8,
        "val_from": "the next speakers",
        "quantization": "dynamic",
        "model_bytes": 2048,
        "parity_agreement": 0.995,
        "parity_mean_difference": 0.001,
        "temperature": 1.0,
        "uncertain_below": 0.5,
        "train_seconds": 120.0,
        "train_device": "jax, a GPU",
        "score_device": "a processor",
        "train_commit": "abc",
        "score_commit": "def+",
        "tools": {"keras": "3"},
    }
    return Result(speakers=speakers, corpora=corpora, **{**fields, **changes})
