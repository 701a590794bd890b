"""`tonelight listen`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Protocol

from edge import config
from edge.commands.common import activation_in_words, bundle_of, open_pipeline
from edge.errors import AudioError
from edge.events import Detection
from edge.pipeline import FileResult, summarize
from edge.sources import SAMPLE_RATE_HZ, FileSource

_BLOCK_MS = 500  # any length gives the same answer


def run(args: argparse.Namespace) -> int:
    """Say what each recording holds; 1 when one of them could not be read.

    Raises:
        ConfigError: the configuration cannot be used.
        BundleError: the model cannot be used.
    """
    bundle = bundle_of(config.load(args.config), args.bundle)
    pipeline = open_pipeline(bundle)
    report: _Report = _Json(bundle.id) if args.json else _Text(max(len(shown(name)) for name in args.file))
    status = 0
    for name in args.file:
        detections: list[Detection] = []
        n_samples = 0
        pipeline.reset()
        try:
            with FileSource(name, _BLOCK_MS) as source:
                while True:
                    block = source.read()
                    events = pipeline.flush() if block is None else pipeline.push(block.samples)
                    for event in events:
                        if isinstance(event, Detection):
                            detections.append(event)
                            report.segment(name, event)
                    if block is None:
                        break
                    n_samples += len(block.samples)
                for warning in source.warnings:
                    print(f"tonelight: {warning}", file=sys.stderr)
        except AudioError as error:
            # What was found before the fault stands; the file as a whole has no answer.
            report.error(name, error)
            status = 1
        else:
            report.file(name, summarize(detections, bundle, n_samples / SAMPLE_RATE_HZ))
    return status


class _Report(Protocol):
    def segment(self, name: str, detection: Detection) -> None: ...

    def file(self, name: str, result: FileResult) -> None: ...

    def error(self, name: str, error: AudioError) -> None: ...


class _Json:
    """JSON Lines for other programs."""

    def __init__(self, model: str) -> None:
        self._model = model

    def segment(self, name: str, detection: Detection) -> None:
        self._print(
            event="segment",
            file=name,
            start_s=round(detection.start_s, 3),
            end_s=round(detection.end_s, 3),
            label=detection.label,
            confidence=round(detection.confidence, 6),
            probs={label: round(share, 6) for label, share in detection.probs.items()},
            uncertain=detection.uncertain,
            activation=round(detection.activation, 6),
            model=self._model,
        )

    def file(self, name: str, result: FileResult) -> None:
        self._print(
            event="file",
            file=name,
            seconds=round(result.seconds, 3),
            segments=result.segments,
            label=result.label,
            confidence=round(result.confidence, 6),
            probs={label: round(share, 6) for label, share in result.probs.items()},
            uncertain=result.uncertain,
            activation=None if result.activation is None else round(result.activation, 6),
            model=self._model,
        )

    def error(self, name: str, error: AudioError) -> None:
        self._print(event="error", file=name, error=str(error))

    def _print(self, *, file: str, **fields: Any) -> None:
        event = {"event": fields.pop("event"), "file": shown(file), **fields}
        # flushed line by line: whoever reads a pipe wants each answer when it is there
        print(json.dumps(event, allow_nan=False), flush=True)


class _Text:
    """A table for people; what cannot be read is said on stderr."""

    def __init__(self, width: int) -> None:
        self._width = width

    def segment(self, name: str, detection: Detection) -> None:
        what = _in_words(detection.activation, detection.label, detection.confidence, detection.uncertain)
        self._print(name, f"{detection.start_s:8.2f} - {detection.end_s:8.2f} s   {what}")

    def file(self, name: str, result: FileResult) -> None:
        if result.label is None or result.activation is None:
            what = "no speech was found"
        else:
            count = f"{result.segments} stretch{'es' if result.segments > 1 else ''} of speech"
            what = f"{_in_words(result.activation, result.label, result.confidence, result.uncertain)}   {count}"
        self._print(name, f"   whole {result.seconds:10.2f} s   {what}")

    def error(self, name: str, error: AudioError) -> None:
        sys.stdout.flush()
        print(f"tonelight: {error}", file=sys.stderr)

    def _print(self, name: str, text: str) -> None:
        print(f"{shown(name):<{self._width}}  {text}", flush=True)


def _in_words(activation: float, label: str, confidence: float, is_uncertain: bool) -> str:
    """The activation first: it is always an answer, the emotion only when sure."""
    emotion = f"{label:<9} {confidence:4.0%}{'  (uncertain)' if is_uncertain else ''}"
    return f"activation {activation_in_words(activation)}   {emotion}"


def shown(name: str) -> str:
    """`name` as valid Unicode: a file name may be any bytes, but JSON may not."""
    return os.fsencode(name).decode("utf-8", "replace")
