"""The strict form of `result.json`: what one trained, exported bundle said of its test clips, as counts.

Matrices of counts have one row for each truth and one column for each answer, and one more for "no speech found".
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edge.labels import EMOTIONS
from train_host.errors import EvaluationError
from train_host.scoring import NoiseHeard

RESULT: Final = "result.json"
N_BINS: Final = 15
"""Bins of equal width of a histogram of confidence."""
N_COVERAGES: Final = 20
"""Points of a risk-coverage curve: the most confident 1/20, 2/20, ... of the clips."""

Natural = Annotated[int, Meta(ge=0)]
Count9 = tuple[Natural, Natural, Natural, Natural, Natural, Natural, Natural, Natural, Natural]
Emotions = tuple[Count9, Count9, Count9, Count9, Count9, Count9, Count9, Count9]
"""`(8, 9)`: truth and answer in the order of `EMOTIONS`, then no answer."""
Count3 = tuple[Natural, Natural, Natural]
Activation = tuple[Count3, Count3]
"""`(2, 3)`: high, low; then no answer."""


class Bin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clips whose confidence lies in one bin: how many, the sum of their confidence, how many answers were right."""

    n: Natural
    confidence: float
    n_right: Natural


class Speaker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts of one tested speaker. `emotions`: answers out of the corpus's `classes`."""

    corpus: str
    speaker: str
    gender: Literal["female", "male"] | None
    emotions: Emotions
    activation: Activation


class CorpusResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts over all tested clips of one corpus whose emotion is one of `classes`.

    `classes` are the emotions that both the tested clips and the training have. `all_answers` are the answers of the
    device, all eight allowed; `keras` those of the float model, out of `classes`. `calibration` and `coverage` judge
    the device's own answers and confidence; `coverage[i]` is the share right among the most confident
    `(i + 1) / N_COVERAGES`. `n_certain` clips had a confidence that the bundle does not call uncertain. Those of the
    activation are of the clips that have one, by the bundle's calibration; all zero where no clip has one.
    """

    classes: tuple[str, ...]
    all_answers: Emotions
    keras: Emotions
    calibration: tuple[Bin, ...]
    coverage: tuple[float, ...]
    n_certain: Natural
    n_certain_right: Natural
    activation_calibration: tuple[Bin, ...]
    activation_coverage: tuple[float, ...]


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same clips in noise, or in a room (`snr_db` None): answers out of the corpus's classes, by corpus.

    `familiar` are the clips under sounds that the training mixed in, too; `new` those under all others.
    """

    name: str
    snr_db: float | None
    familiar: dict[str, Emotions]
    new: dict[str, Emotions]
    familiar_sounds: tuple[str, ...]
    new_sounds: tuple[str, ...]


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One task. `uar` is of the quantized bundle in the device's pipeline, `uar_float` of Keras, both over `classes`
    and, where there are several corpora, the mean over them. A `trial` was trained for other than the recipe's steps.
    """

    schema: Literal[2]
    protocol: str
    split: str
    n_folds: Annotated[int, Meta(ge=1)]
    leaky: bool
    trial: bool
    recipe: str
    recipe_digest: str
    seed: Natural
    steps: Annotated[int, Meta(ge=1)]
    uar: Annotated[float, Meta(ge=0, le=1)]
    uar_float: Annotated[float, Meta(ge=0, le=1)]
    n_train: Natural
    n_val: Natural
    n_test: Natural
    val_from: str
    quantization: str
    model_bytes: Natural
    parity_agreement: float
    parity_mean_difference: float
    temperature: float
    uncertain_below: float
    train_seconds: float | None
    """None where the training was interrupted and taken up again."""
    train_device: str
    score_device: str
    train_commit: str
    score_commit: str
    tools: dict[str, str]
    speakers: tuple[Speaker, ...]
    corpora: dict[str, CorpusResult]
    conditions: tuple[Condition, ...] = ()
    noises: tuple[NoiseHeard, ...] = ()
    """Noises by themselves."""

    def __post_init__(self) -> None:
        names = {one.corpus for one in self.speakers}
        if names != set(self.corpora) or not names:
            raise ValueError("speakers and corpora are not of the same corpora")
        for name, corpus in self.corpora.items():
            if not corpus.classes or not set(corpus.classes) <= set(EMOTIONS):
                raise ValueError(f"classes of {name} are not emotions")
            if len(corpus.calibration) != N_BINS or len(corpus.activation_calibration) != N_BINS:
                raise ValueError(f"calibration of {name} does not have {N_BINS} bins")
            if len(corpus.coverage) != N_COVERAGES or len(corpus.activation_coverage) != N_COVERAGES:
                raise ValueError(f"coverage of {name} does not have {N_COVERAGES} points")
            n = {
                int(self.emotions(name).sum()),
                int(np.sum(corpus.all_answers)),
                int(np.sum(corpus.keras)),
                sum(one.n for one in corpus.calibration),
            }
            if len(n) > 1:
                raise ValueError(f"counts of {name} are not of the same clips")
        found = float(np.mean([uar(self.emotions(name)) for name in self.corpora]))
        if abs(found - self.uar) > 1e-6:
            raise ValueError(f"uar {self.uar} is not that of the counts ({found})")
        found = float(np.mean([uar(np.array(corpus.keras)) for corpus in self.corpora.values()]))
        if abs(found - self.uar_float) > 1e-6:
            raise ValueError(f"uar_float {self.uar_float} is not that of the counts ({found})")

    def emotions(self, corpus: str) -> NDArray[np.int64]:
        """Counts `(8, 9)` of all speakers of a corpus."""
        return np.sum([one.emotions for one in self.speakers if one.corpus == corpus], axis=0, dtype=np.int64)


def uar(counts: NDArray[np.int64]) -> float:
    """Mean over the rows that have any count of the share on the diagonal. Raises ValueError where there is none."""
    n = counts.sum(axis=1)
    if not n.any():
        raise ValueError("no clips: there is no recall of nothing")
    rows = np.flatnonzero(n)
    return float(np.mean(counts[rows, rows] / n[rows]))


def histogram(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """`N_BINS` bins of the answers `(n,)` by their confidence."""
    index = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    return tuple(
        Bin(int((index == i).sum()), round(float(confidence[index == i].sum()), 4), int(right[index == i].sum()))
        for i in range(N_BINS)
    )


def coverage(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, ...]:
    """Share right among the most confident 1/20, 2/20, ...; equal confidence keeps the order of the clips."""
    ordered = right[np.argsort(-confidence, kind="stable")]
    n = len(ordered)
    return tuple(
        round(float(ordered[: max(1, round(n * (i + 1) / N_COVERAGES))].mean()), 4) if n else 0.0
        for i in range(N_COVERAGES)
    )


def save(result: Result, folder: Path) -> None:
    """Write `folder/result.json`, whole or not at all."""
    temporary = folder / f".{RESULT}.tmp"
    temporary.write_bytes(msgspec.json.encode(result) + b"\n")
    temporary.replace(folder / RESULT)


def load(path: Path) -> Result:
    """Raises EvaluationError, naming the file, where it is not one, or not whole."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except msgspec.DecodeError as error:  # a ValidationError is one, and so is what __post_init__ raises
        raise EvaluationError(f"{path}: no result of this program ({error}); delete it, and evaluate again") from None


def load_all(folder: Path) -> list[Result]:
    """All results under a folder, in the order of their names. Raises EvaluationError where there is none, where two
    are of one task, or where one split had other recordings from one result to the next."""
    paths = sorted(folder.rglob(RESULT)) if folder.is_dir() else []
    results = [load(path) for path in paths]
    if not results:
        raise EvaluationError(f"{folder} holds no {RESULT}; `tonelight-train evaluate --out {folder}` makes them")
    places: dict[tuple[object, ...], Path] = {}
    sizes: dict[str, tuple[tuple[int, int, int], Path]] = {}
    for path, one in zip(paths, results, strict=True):
        n = (one.n_train, one.n_val, one.n_test)
        known, known_path = sizes.setdefault(one.split, (n, path))
        if n != known:
            raise EvaluationError(
                f"{known_path} and {path} are both of {one.split}, but not of the same recordings: {known[0]} and "
                f"{n[0]} trained, {known[1]} and {n[1]} validated, {known[2]} and {n[2]} were tested. They have no "
                "mean; delete the results of the recordings that are no longer there, and evaluate again"
            )
        first = places.setdefault((one.recipe, one.recipe_digest, one.split, one.seed, one.steps), path)
        if first != path:
            raise EvaluationError(f"{path} and {first} are of the same task; delete one of them")
    return results
