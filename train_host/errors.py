"""The workstation's own errors, under the device's root: one line each, printed as it is."""

from edge.errors import TonelightError


class CorpusError(TonelightError, ValueError):
    """A folder of recordings, its manifest, or a recording in it, cannot be used."""


class FoldError(TonelightError, ValueError):
    """The recordings at hand cannot be split the way that was asked for."""


class RecipeError(TonelightError, ValueError):
    """A recipe that does not exist, or one that cannot do what was asked."""


class TrainingError(TonelightError, RuntimeError):
    """A training run cannot be started, resumed or read."""


class ExportError(TonelightError, RuntimeError):
    """A trained model cannot be made into a bundle, or the bundle does not say what the model said."""


class ParityError(ExportError):
    """The converted model does not say what the trained one says; with finer weights it may."""


class EvaluationError(TonelightError, RuntimeError):
    """A training cannot be measured, or its result cannot be read."""


class DeployError(TonelightError, RuntimeError):
    """A bundle cannot be brought to a board, or the list of boards cannot be used."""
