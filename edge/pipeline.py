"""From samples to scores and detections: everything between the microphone and the light, and no hardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.bundle import GOLDEN, Bundle
from edge.classifier import Classifier
from edge.errors import BundleError, one_line
from edge.events import Detection, Score
from edge.frontend import Chunk, FrontEnd, Segment
from edge.normalize import Normalizer
from edge.smoothing import DecisionConfig, Smoother, activation, posterior, speech_probability

Float32 = NDArray[np.float32]


class Pipeline:
    """Takes a stream of samples block by block and says what it heard.

    The answer does not depend on how the stream was cut into blocks. Statistics of the speaker and the microphone live
    until `reset`, a segment's state until its end.
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self.labels = bundle.labels
        self._decision = manifest.decision
        self._hears_speech = manifest.model.hears_speech
        self._front_end = FrontEnd(manifest.features, manifest.gate, manifest.model.chunk_frames)
        self._normalizer = Normalizer(manifest.normalizer, manifest.features.hop_ms)
        self._classifier = Classifier(bundle)
        self._smoother = Smoother(manifest.decision)
        self.reset()

    def reset(self) -> None:
        """Start as on a new stream."""
        self._front_end.reset()
        self._normalizer.reset()
        self._classifier.reset()
        self._smoother.reset()
        self._logits: Float32 | None = None
        self._last_speech_s = 0.0

    @property
    def speaking(self) -> bool:
        """Whether a stretch of speech is open."""
        return self._front_end.speaking

    @property
    def level_db(self) -> float:
        """Level of the last frame, dB relative to full scale."""
        return self._front_end.level_db

    @property
    def time_s(self) -> float:
        """How much of the stream was analysed, in seconds."""
        return self._front_end.time_s

    @property
    def silence_s(self) -> float:
        """Seconds since the end of the last speech, or since the stream began; 0 while somebody speaks."""
        return 0.0 if self.speaking else self.time_s - self._last_speech_s

    def push(self, samples: Float32) -> list[Score | Detection]:
        """Take samples `(n,)`, mono, at the bundle's rate; return what they complete, in order."""
        return [event for chunk in self._front_end.push(samples) for event in self._take(chunk)]

    def flush(self) -> list[Score | Detection]:
        """End of the stream, or samples were lost: close the open segment and return what it completes."""
        return [event for chunk in self._front_end.flush() for event in self._take(chunk)]

    def _take(self, chunk: Chunk) -> list[Score | Detection]:
        events: list[Score | Detection] = []
        logits = self._classifier.step(self._normalizer.push(chunk.features))
        if logits is not None:
            self._logits = logits
            if self._is_speech(logits):
                events.append(self._score(logits[: len(self.labels)], chunk.end_s))
        if chunk.is_last:
            if chunk.segment is not None and self._logits is not None and self._is_speech(self._logits):
                self._last_speech_s = chunk.segment.end_s
                events.append(self._detection(chunk.segment, self._logits[: len(self.labels)]))
            self._classifier.reset()
            self._logits = None
        return events

    def _is_speech(self, logits: Float32) -> bool:
        """Whether the model, if it can tell, says that somebody speaks: a gate opens on a slammed door, too."""
        return not self._hears_speech or speech_probability(float(logits[-1])) >= self._decision.speech_from

    def _score(self, logits: Float32, time_s: float) -> Score:
        average, shown = self._smoother.push(posterior(logits, self._decision.temperature), time_s)
        label = None if shown is None else self.labels[shown]
        confidence = float(average.max() if shown is None else average[shown])
        heard = float(activation(average, self.labels, self._decision))
        return Score(time_s, self._named(average), label, confidence, heard)

    def _detection(self, segment: Segment, logits: Float32) -> Detection:
        probs = posterior(logits, self._decision.temperature)
        label, confidence, uncertain, heard = _decide(probs, self.labels, self._decision)
        return Detection(segment.start_s, segment.end_s, label, confidence, self._named(probs), uncertain, heard)

    def _named(self, probs: Float32) -> dict[str, float]:
        return dict(zip(self.labels, probs.tolist(), strict=True))


def _decide(probs: Float32, labels: Sequence[str], config: DecisionConfig) -> tuple[str, float, bool, float]:
    """Emotion, confidence, whether that is too little to show it, and the activation."""
    best = int(np.argmax(probs))
    confidence = float(probs[best])
    return labels[best], confidence, confidence < config.uncertain_below, float(activation(probs, labels, config))


@dataclass(frozen=True)
class FileResult:
    """What a whole recording was: the mean of its segments, each counting by its length. `label` is None, `confidence`
    0, `probs` empty and `activation` None where no speech was found."""

    seconds: float
    segments: int
    label: str | None
    confidence: float
    probs: Mapping[str, float]
    uncertain: bool
    activation: float | None


def summarize(detections: Sequence[Detection], bundle: Bundle, seconds: float) -> FileResult:
    """Combine the detections of one recording of `seconds`."""
    if not detections:
        return FileResult(seconds, 0, None, 0.0, {}, True, None)
    lengths = np.array([d.end_s - d.start_s for d in detections], np.float32)
    rows = np.array([[d.probs[label] for label in bundle.labels] for d in detections], np.float32)
    probs = lengths @ rows / lengths.sum()
    label, confidence, uncertain, heard = _decide(probs, bundle.labels, bundle.manifest.decision)
    named = dict(zip(bundle.labels, probs.tolist(), strict=True))
    return FileResult(seconds, len(detections), label, confidence, named, uncertain, heard)


FEATURE_TOLERANCE = 1e-3
PROBABILITY_TOLERANCE = 0.02
"""Kernels of different machines round int8 sums alike but scale them in different orders; a broken one is far off."""


def verify_golden(bundle: Bundle) -> None:
    """Replay the bundle's golden signal through this machine's pipeline and compare.

    Raises BundleError where the features or the probabilities are not what they were at export: a damaged model, or a
    runtime that computes wrong answers on this processor (it happens).
    """
    golden = _load_golden(bundle)
    manifest = bundle.manifest
    front_end = FrontEnd(manifest.features, manifest.gate, manifest.model.chunk_frames)
    samples = golden["samples"].astype(np.float32) / np.float32(32768)
    features = np.concatenate([np.zeros((0, manifest.features.n_features), np.float32), *front_end.segments(samples)])
    _compare(bundle, "features", features, golden["features"], FEATURE_TOLERANCE)
    probabilities = golden_probabilities(bundle, samples)
    _compare(bundle, "probabilities", probabilities, golden["probabilities"], PROBABILITY_TOLERANCE)


def golden_probabilities(bundle: Bundle, samples: Float32) -> Float32:
    """Posteriors `(n_segments, n_labels)` of the golden signal, which is no voice: all of its segments are answered."""
    decision = msgspec.structs.replace(bundle.manifest.decision, speech_from=0.0)
    pipeline = Pipeline(replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, decision=decision)))
    events = [*pipeline.push(samples), *pipeline.flush()]
    rows = [list(event.probs.values()) for event in events if isinstance(event, Detection)]
    return np.array(rows, np.float32).reshape(len(rows), len(bundle.labels))


def _load_golden(bundle: Bundle) -> Mapping[str, NDArray[np.floating]]:
    path = bundle.path / GOLDEN
    try:
        with np.load(path, allow_pickle=False) as file:
            # what is no array comes as bytes
            golden = {name: np.asarray(file[name]) for name in ("samples", "features", "probabilities")}
    except Exception as error:  # damage comes out of zipfile and numpy as nearly all kinds there are
        words = one_line(error) or type(error).__name__
        raise BundleError(f"{path} cannot be read: {words}; install the bundle again") from None
    n_dims = [array.ndim for array in golden.values()]
    if n_dims != [1, 2, 2] or any(array.dtype.kind not in "iuf" for array in golden.values()):
        raise BundleError(f"{path} does not hold a signal and what was heard in it; install the bundle again")
    if len(golden["probabilities"]) == 0:
        raise BundleError(f"{path} holds no speech, so it proves nothing; export the bundle again")
    return golden


def _compare(bundle: Bundle, what: str, found: Float32, expected: NDArray[np.floating], tolerance: float) -> None:
    if found.shape != expected.shape:
        raise BundleError(
            f"bundle {bundle.id}: the golden signal gives {what} of shape {found.shape}, {expected.shape} at export; "
            "this program does not compute what the model was trained on"
        )
    difference = float(np.abs(found - expected).max(initial=0.0))
    if not difference <= tolerance:
        raise BundleError(
            f"bundle {bundle.id}: {what} of the golden signal differ by {difference:.3g} from those at export "
            f"(allowed {tolerance:g}); the runtime or the processor computes wrong answers: install another "
            "version of ai-edge-litert"
        )
