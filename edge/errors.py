"""Every error tonelight raises on purpose.

One root, `TonelightError`; each error is also the standard type a caller would expect. The message is one line that
names the thing at fault and the way out, fit to be printed as it is: the command line prints it and exits with 1.
"""


class TonelightError(Exception):
    """Root of all deliberate errors."""


class ConfigError(TonelightError, ValueError):
    """The configuration file, or a value in it, cannot be used."""


class AudioError(TonelightError, ValueError):
    """A recording cannot be read, or holds samples that cannot be processed."""


class SourceError(TonelightError, OSError):
    """A microphone cannot be opened or has stopped delivering."""


class BundleError(TonelightError, ValueError):
    """A model bundle is missing, damaged, or does not fit this program."""


class LightError(TonelightError, OSError):
    """A light cannot be driven."""


class HistoryError(TonelightError, OSError):
    """The local log cannot be opened, read or written."""


class ClipError(TonelightError, OSError):
    """Clips of speech cannot be kept, read, named, deleted or exported."""


def one_line(text: object, longest: int = 300) -> str:
    """`text` as part of such a message, whatever it repeats of a file: on one line, printable, of a bearable length."""
    words = " ".join(str(text).split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)[:longest]
