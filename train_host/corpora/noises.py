"""Noises and room responses to augment with, listed in a `noise_manifest.csv` beside the corpora's manifest.

Columns: `path` (relative), `kind` (`noise` or `rir`) required; `source`, `licence`, `seconds` where known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from edge.errors import AudioError
from train_host.corpora import manifest
from train_host.errors import CorpusError
from train_host.recordings import read_recording

FILE: Final = "noise_manifest.csv"
_KINDS: Final = ("noise", "rir")


@dataclass(frozen=True)
class Sound:
    """A noise (`kind` "noise") or the impulse response of a room ("rir")."""

    path: Path
    kind: str
    source: str
    licence: str

    @property
    def is_free(self) -> bool:
        """Whether anybody may use it. Only such sounds train: the weights are for everybody."""
        return "private" not in self.licence


def find_sounds(root: Path) -> list[Sound]:
    """The sounds of `root`'s noise manifest; none where there is no such file.

    Raises CorpusError, with the line, where the manifest cannot be used.
    """
    table = root / FILE
    if not table.is_file():
        return []
    sounds = []
    for line, row in manifest.rows(table, ("path", "kind")):
        if row["kind"] not in _KINDS or not row["path"]:
            raise CorpusError(f"{table}, line {line}: needs a path and a kind out of {' and '.join(_KINDS)}; mend it")
        sounds.append(Sound(root / row["path"], row["kind"], row.get("source", ""), row.get("licence", "not stated")))
    return sounds


def load_sounds(sounds: Iterable[Sound], kind: str) -> list[npt.NDArray[np.float32]]:
    """Samples of all `sounds` of a `kind`, mono, at 16 kHz. Raises CorpusError, naming one that cannot be read."""
    return [_load(sound.path) for sound in sounds if sound.kind == kind]


def _load(path: Path) -> npt.NDArray[np.float32]:
    try:
        return read_recording(path)
    except AudioError as error:
        raise CorpusError(f"{path}: cannot be read: {error}; restore it or take its line out of {FILE}") from None
