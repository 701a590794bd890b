"""Plots of a run, as PNG files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

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
