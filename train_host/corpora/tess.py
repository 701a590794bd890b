"""TESS: `OAF_back_angry.wav` (speaker, word, emotion), in folders `OAF_angry`, `YAF_Fear`, ... or flat.

Two actresses say "Say the word ..." with the same 200 words. The release spells one name `OA_bite_neutral.wav`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from train_host.corpora.clip import Clip, LeftOut, Problem, emotion_of

NAME: Final = "tess"
EXAMPLE: Final = "OAF_angry/OAF_back_angry.wav"
_LABELS: Final = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
_STEM: Final = re.compile(rf"(OAF|OA|YAF)_([a-z]+)_({'|'.join(_LABELS)})", re.IGNORECASE)


def _parts(path: Path) -> tuple[str, str, str] | None:
    match = _STEM.fullmatch(path.stem)
    if match is None:
        return None
    speaker, word, label = match.groups()
    return "YAF" if speaker.upper() == "YAF" else "OAF", word.lower(), label.lower()


def original_name(path: Path) -> str | None:
    """The recording's name with its speaker spelt right, None where the file is no part of TESS."""
    parts = _parts(path)
    return "_".join(parts) if parts else None


def read(paths: Iterable[Path]) -> Iterator[Clip | LeftOut | Problem]:
    for path in paths:
        parts = _parts(path)
        assert parts is not None, path
        speaker, word, label = parts
        emotion = emotion_of(label)
        assert emotion is not None, label
        yield Clip(path, NAME, speaker, "female", "en", emotion, label, text=f"Say the word {word}")


def missing(names: set[str]) -> list[str]:
    """Names that `names` lacks for both actresses to have said each of its words in each emotion."""
    words = {name.split("_")[1] for name in names}
    return sorted({f"{who}_{word}_{label}" for who in ("OAF", "YAF") for word in words for label in _LABELS} - names)
