"""What is published about the corpora known by name: terms, language, number of recordings, identical ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Known:
    """Published facts of a corpus. `twins`: stems of recordings that are identical in the original release."""

    title: str
    language: str
    licence: str
    n_published: int
    twins: tuple[tuple[str, str], ...] = ()


KNOWN: Final = {
    "ravdess": Known(
        "RAVDESS speech",
        "en",
        "CC BY-NC-SA 4.0",
        1440,
        (("03-01-03-01-02-01-07", "03-01-03-01-02-02-07"),),
    ),
    "tess": Known("TESS", "en", "CC BY-NC-ND 4.0", 2800),
    "savee": Known("SAVEE", "en", "registration required, research only", 480),
    "cremad": Known("CREMA-D", "en", "ODbL 1.0", 7442),
    "emodb": Known("EMO-DB", "de", "as published: free, no licence text", 535),
    "iemocap": Known("IEMOCAP", "en", "signed licence agreement, research only", 10039),
    "nemo": Known("nEMO", "pl", "CC BY-NC-SA 4.0", 4481),
    "ased": Known(
        "ASED",
        "am",
        "none stated: experiments only, not weights that ship",
        2474,
        (
            ("h3-01-01-02-08", "h3-01-02-02-08"),
            ("s4-03-01-01-23", "s4-03-02-01-23"),
            ("n1-07-01-02-53", "n1-07-02-02-53"),
            ("a5-07-01-02-63", "a5-07-02-02-63"),
        ),
    ),
    "turev": Known("TurEV-DB", "tr", "CC BY-NC-ND 4.0", 1735),
}


def short_name(name: str) -> str:
    """`CREMA-D`, `Emo_DB` and the like as the short name used here; any other name as it is, in lower case."""
    plain = "".join(letter for letter in name.casefold() if letter.isalnum())
    return plain if plain in KNOWN else name.strip().casefold()
