"""One recording through the device's pipeline, in a process of its own: `python -m edge.web.analyse BUNDLE < FILE`.

BUNDLE may be empty: then the bundle that is active now is asked. The process may take little memory and time, and
everything else on the board goes first. What it found, or why it found nothing, is one JSON object on its output; the
recording itself is only ever in memory.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.bundle import load_bundle
from edge.errors import AudioError, TonelightError
from edge.events import Detection, Score
from edge.pipeline import Pipeline, summarize
from edge.sources import SAMPLE_RATE_HZ, FileSource
from edge.store import Store
from edge.web.limits import CPU_S, MAX_S, MEMORY_BYTES, step_back

N_PEAKS: Final = 1000
"""The waveform is told in at most so many peaks."""
_BLOCK_MS: Final = 500
_PIECE_LENGTH: Final = SAMPLE_RATE_HZ // 2  # any length gives the same answer


def analyse(path: Path, bundle_path: Path) -> dict[str, Any]:
    """What the pipeline hears in the recording at `path`.

    Returns `seconds`; `peaks`, the largest magnitude (0 to 1) in each of at most `N_PEAKS` equal parts; `segments`,
    each stretch of speech with the fields of a `Detection`; `whole`, the answer for all of it, its `label` None where
    there is no speech; `warnings`, sentences; `model`.

    Raises:
        AudioError: it is no recording, it is damaged, or it is longer than `MAX_S`.
        BundleError: the model cannot be used.
    """
    samples, warnings = _read(path)
    bundle = load_bundle(bundle_path)
    pipeline = Pipeline(bundle)
    events: list[Score | Detection] = []
    for start in range(0, len(samples), _PIECE_LENGTH):
        events += pipeline.push(samples[start : start + _PIECE_LENGTH])
    events += pipeline.flush()
    detections = [event for event in events if isinstance(event, Detection)]
    seconds = len(samples) / SAMPLE_RATE_HZ
    parts = np.array_split(np.abs(samples), min(N_PEAKS, len(samples)))
    return {
        "seconds": seconds,
        "peaks": [round(min(float(part.max()), 1.0), 3) for part in parts],
        "segments": [asdict(detection) for detection in detections],
        "whole": asdict(summarize(detections, bundle, seconds)),
        "warnings": warnings,
        "model": bundle.id,
    }


def _read(path: Path) -> tuple[NDArray[np.float32], list[str]]:
    """The samples, all of them before any is analysed: whether they are too many is known in a moment."""
    blocks: list[NDArray[np.float32]] = []
    n_samples = 0
    try:
        with FileSource(path, _BLOCK_MS) as source:
            while (block := source.read()) is not None:
                blocks.append(block.samples)
                n_samples += len(block.samples)
                if n_samples > MAX_S * SAMPLE_RATE_HZ:
                    raise AudioError(f"{path} is longer than {MAX_S // 60} minutes; cut it, or use `tonelight listen`")
    except AudioError as error:
        raise AudioError(_of_the_recording(str(error), path)) from None
    return np.concatenate(blocks), [_of_the_recording(warning, path) for warning in source.warnings]


def _of_the_recording(sentence: str, path: Path) -> str:
    """`sentence` without the name under which only this process knows the recording."""
    return sentence.replace(str(path), "the recording")


def main() -> int:
    """Analyse what comes in; returns the exit status."""
    step_back(1000)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a picture of the memory would hold the recording
    try:
        answer = analyse(Path("/proc/self/fd/0"), Path(sys.argv[1]) if sys.argv[1] else Store().active_path)
    except TonelightError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "the recording takes more memory than there is for it; convert it to WAV or FLAC"}
    print(json.dumps(answer, allow_nan=False))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
