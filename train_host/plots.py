"""Plots of a run, as PNG files."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from train_host.evaluate.result import Bin

mpl.use("Agg")  # files only: a workstation without a screen trains too

from matplotlib import pyplot as plt


def curves(history: Path, out: Path) -> None:
    """Loss and validation UAR over the steps, from `history.csv`."""
    with history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [int(row["step"]) for row in rows]
    figure, loss_axes = plt.subplots(figsize=(7, 4), layout="constrained")
    uar_axes = loss_axes.twinx()
    # with markers: a short run has but one point
    (loss_line,) = loss_axes.plot(steps, [float(row["loss"]) for row in rows], ".-", color="tab:gray")
    (uar_line,) = uar_axes.plot(steps, [100 * float(row["val_uar"]) for row in rows], ".-", color="tab:blue")
    loss_axes.set(xlabel="step", ylabel="training loss")
    uar_axes.set(ylabel="UAR of validation speakers in %")
    figure.legend([loss_line, uar_line], ["loss", "UAR"], loc="outside upper center", ncols=2)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def confusion(counts: NDArray[np.int64], labels: Sequence[str], title: str, out: Path) -> None:
    """Confusion matrix as shares of each row, with the counts written in; columns may have one more, for no answer."""
    names = [*labels, "none"][: counts.shape[1]]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(7, 6), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column, row, str(count), ha="center", va="center", color="white" if shares[row, column] > 0.6 else "black"
        )
    axes.set(xticks=range(len(names)), yticks=range(len(labels)), xlabel="answer", ylabel="truth", title=title)
    axes.set_xticklabels(names, rotation=40, ha="right")
    axes.set_yticklabels(labels)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def coverage(curves: Mapping[str, NDArray[np.float64]], out: Path) -> None:
    """Risk-coverage curves by name: `[i]` is the share right among the most confident `(i + 1) / n`."""
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    for name, shares in curves.items():
        axes.plot(100 * np.arange(1, len(shares) + 1) / len(shares), 100 * shares, ".-", label=name)
    axes.legend(loc="lower left")
    axes.set(xlabel="coverage in %, most confident first", ylabel="accuracy in %", xlim=(-2, 102), ylim=(-2, 102))
    figure.savefig(out, dpi=120)
    plt.close(figure)


def reliability(bins: Sequence[Bin], out: Path) -> None:
    """Accuracy over confidence, as wide as the bins; the diagonal is a model that knows what it knows."""
    there = [b for b in bins if b.n]
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    axes.plot([0, 100], [0, 100], color="tab:gray", linewidth=1)
    # as large as there are clips
    sizes = [10 + 200 * b.n / sum(one.n for one in there) for b in there]
    axes.scatter([100 * b.confidence / b.n for b in there], [100 * b.n_right / b.n for b in there], sizes)
    axes.set(xlabel="confidence in %", ylabel="accuracy in %", xlim=(-2, 102), ylim=(-2, 102))
    figure.savefig(out, dpi=120)
    plt.close(figure)
