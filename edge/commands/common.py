"""What several commands need."""

from __future__ import annotations

from pathlib import Path

from edge.bundle import Bundle, default_bundle_path, load_bundle
from edge.config import Config
from edge.pipeline import Pipeline, verify_golden
from edge.sources import InputDevice
from edge.sources.libraries import quiet_stderr
from edge.sources.microphone import choose


def bundle_of(config: Config, chosen: Path | None = None) -> Bundle:
    """The bundle in folder `chosen`, else the one `config` asks for, else the activated, else the one that ships.

    Raises:
        BundleError: it is missing, damaged or unknown.
    """
    return load_bundle(chosen or config.bundle_path or default_bundle_path())


def open_pipeline(bundle: Bundle) -> Pipeline:
    """A fresh pipeline, once the bundle's golden signal has been replayed: it must compute here what it did at export.

    Raises:
        BundleError: no runtime is installed, it cannot load the model, or it computes something else here.
    """
    with quiet_stderr():  # the runtime announces itself there
        verify_golden(bundle)
        return Pipeline(bundle)


def microphone_of(config: Config, devices: list[InputDevice]) -> InputDevice:
    """The one of `devices` that `run` opens with `config`.

    Raises:
        SourceError: none of them, or more than one, fits.
    """
    return choose(list(enumerate(devices)), config.audio.device)[1]


def activation_in_words(activation: float) -> str:
    """High or low, whichever is likelier, and how likely, in 9 columns: "high  88%"."""
    word, share = ("high", activation) if activation >= 0.5 else ("low", 1 - activation)
    return f"{word:<4} {share:4.0%}"
