"""Recordings as the device hears them: the same reader, the same resampler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.sources import FileSource


def read_recording(path: Path) -> NDArray[np.float32]:
    """All samples of a recording, mono, at 16 kHz. Raises AudioError where it cannot be read."""
    blocks = []
    with FileSource(path, block_ms=1000) as source:
        while (block := source.read()) is not None:
            blocks.append(block.samples)
    return np.concatenate(blocks)
