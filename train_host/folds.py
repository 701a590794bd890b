"""Who trains, who decides, who is tested: splits in which no voice is on two sides.

The folds of published papers are data in `folds.json`. Where a paper names no validation speakers, they are chosen by
one fixed rule (`validation_speakers`). Recordings that are known to be the same are used once: all but the first are
dropped, and every split says which.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from train_host.corpora.clip import UNKNOWN_SPEAKER, Clip
from train_host.corpora.known import KNOWN
from train_host.errors import FoldError

FOLDS: Final = Path(__file__).with_name("folds.json")
_MIN_SPEAKERS: Final = 3  # a corpus of fewer has no voice to spare for validation


class Fold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Speakers of one fold of a protocol; `val` is None where its source names none."""

    test: tuple[str, ...]
    val: tuple[str, ...] | None


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    folds: tuple[Fold, ...]
    primary: bool = False


@dataclass(frozen=True)
class Protocol:
    """A published way to split one corpus. `corpus` is the part of the name before the underscore."""

    name: str
    corpus: str
    source: str
    folds: tuple[Fold, ...]


@dataclass(frozen=True)
class Split:
    """Every clip that was given is in exactly one of the four. `dropped` are second copies of a recording.

    `val_from` says in words where the validation clips come from, for the report.
    """

    name: str
    train: tuple[Clip, ...]
    val: tuple[Clip, ...]
    test: tuple[Clip, ...]
    dropped: tuple[Clip, ...]
    val_from: str


def load_protocols(path: Path = FOLDS) -> dict[str, Protocol]:
    """The protocols of a folds file, by name. Raises FoldError where it is damaged or a speaker is tested twice."""
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=dict[str, _Entry])
    except (OSError, msgspec.DecodeError) as error:
        raise FoldError(f"{path}: not a file of folds ({error}); restore it") from None
    for name, entry in entries.items():
        tested = [speaker for fold in entry.folds for speaker in fold.test]
        if len(set(tested)) < len(tested) or not all(fold.test for fold in entry.folds) or not entry.folds:
            raise FoldError(f"{path}: {name} tests a speaker twice, or nobody in some fold; restore it")
        if any(set(fold.test) & set(fold.val or ()) for fold in entry.folds):
            raise FoldError(f"{path}: {name} validates with a speaker that it tests; restore it")
    return {name: Protocol(name, name.partition("_")[0], entry.source, entry.folds) for name, entry in entries.items()}


def splits(protocol: Protocol, clips: Sequence[Clip]) -> Iterator[Split]:
    """One split for each fold, named `<protocol>/<fold from 1>`; other corpora's clips train in all of them.

    Where the fold names no validation speakers: `validation_speakers` of the protocol's corpus, starting after the
    last one tested. Where the test leaves that corpus only one speaker (TESS): those of the other corpora, or a share
    of that speaker's texts where there are none.

    Raises FoldError where clips of the protocol's corpus have no speaker, or a speaker of its folds is not there.
    """
    kept, dropped = drop_duplicates(clips)
    mine = [clip for clip in kept if clip.corpus == protocol.corpus]
    _require_speakers(mine, protocol.corpus)
    there = {clip.speaker for clip in mine}
    lacking = sorted({who for fold in protocol.folds for who in (*fold.test, *(fold.val or ()))} - there)
    if lacking:
        what = f"has no clip of speaker {', '.join(lacking)}" if mine else "is not among the corpora"
        raise FoldError(
            f"{protocol.name}: {protocol.corpus} {what}; `tonelight-train data verify` says what is missing"
        )
    for number, fold in enumerate(protocol.folds, start=1):
        test = {f"{protocol.corpus}/{speaker}" for speaker in fold.test}
        rest = [clip for clip in kept if clip.speaker_id not in test]
        if fold.val is not None:
            chosen: Sequence[str] = fold.val
            val_from = "speakers named by the protocol"
        else:
            chosen = validation_speakers([c for c in rest if c.corpus == protocol.corpus], after=max(fold.test))
            val_from = "the next speakers"
        if chosen:
            val = {f"{protocol.corpus}/{speaker}" for speaker in chosen}
            train_clips, val_clips = _part(rest, val)
        else:
            train_clips, val_clips, val_from = _hold_out(rest, protocol.name)
        tested = [clip for clip in kept if clip.speaker_id in test]
        yield _checked(
            Split(f"{protocol.name}/{number}", train_clips, val_clips, tuple(tested), dropped, val_from), clips
        )


def unseen_corpus(clips: Sequence[Clip], corpus: str) -> Split:
    """All of `corpus` is tested; the others train, with validation speakers out of each that has three or more.

    The test holds classes that training may lack: scoring on the classes both have is the evaluation's part.
    Raises FoldError where `corpus` or any other is missing.
    """
    kept, dropped = drop_duplicates(clips)
    test = tuple(clip for clip in kept if clip.corpus == corpus)
    rest = [clip for clip in kept if clip.corpus != corpus]
    if not test or not rest:
        have = ", ".join(sorted({clip.corpus for clip in kept})) or "nothing"
        raise FoldError(f"unseen corpus {corpus!r}: needs it and at least one other; there is {have}")
    train, val, val_from = _hold_out(rest, f"unseen_{corpus}")
    return _checked(Split(f"unseen_{corpus}", train, val, test, dropped, val_from), clips)


N_CROSSED: Final = 5
_MIN_SPEAKERS_CROSSED: Final = 5  # left to train, for one of them to be spared for validation


def crossed(clips: Sequence[Clip], number: int) -> Split:
    """Fold `number` of 1 to `N_CROSSED` that tests speakers of every corpus at once, each speaker in one of the folds.

    RAVDESS in the folds of `ravdess_luna5`; the speakers of any other corpus are dealt out in turn, one fold after the
    other (SAVEE and TESS: leave one speaker out). A training that all corpora share is so measured on all of them; it
    has fewer voices than in a protocol that tests one corpus only, so its figures are, if anything, lower. Validation
    speakers come from corpora that have enough of them. Raises FoldError where no clips have speakers.
    """
    kept, dropped = drop_duplicates(clips)
    luna = load_protocols()["ravdess_luna5"].folds[number - 1]
    test: set[str] = set()
    val: set[str] = set()
    for corpus in sorted({clip.corpus for clip in kept}):
        own = [clip for clip in kept if clip.corpus == corpus]
        _require_speakers(own, corpus)
        names = sorted({clip.speaker for clip in own})
        if corpus == "ravdess":
            tested, chosen = set(luna.test) & set(names), list(luna.val or ())
        else:
            tested = set(names[number - 1 :: N_CROSSED]) if len(names) > 1 else set()
            rest = [clip for clip in own if clip.speaker not in tested]
            is_enough = len(names) - len(tested) >= _MIN_SPEAKERS_CROSSED
            chosen = validation_speakers(rest, after=max(tested, default="")) if is_enough else []
        test |= {f"{corpus}/{name}" for name in tested}
        val |= {f"{corpus}/{name}" for name in chosen}
    tested_clips = tuple(clip for clip in kept if clip.speaker_id in test)
    train, val_clips = _part([clip for clip in kept if clip.speaker_id not in test], val)
    return _checked(
        Split(f"cross/{number}", train, val_clips, tested_clips, dropped, "speakers of the larger corpora"), clips
    )


def everything(clips: Sequence[Clip]) -> Split:
    """For weights that ship: nobody is tested, and the validation speakers are those of `unseen_corpus`."""
    kept, dropped = drop_duplicates(clips)
    train, val, val_from = _hold_out(kept, "everything")
    return _checked(Split("everything", train, val, (), dropped, val_from), clips)


def random_split(clips: Sequence[Clip], seed: int) -> Split:
    """The leaky one: 70 % train, 10 % val, 20 % test by clip, each corpus and emotion in these shares.

    Voices are on all sides, so its figures say how well a model knows these speakers. For the row that is labelled so.
    """
    kept, dropped = drop_duplicates(clips)
    shuffled = sorted(kept, key=lambda clip: (clip.corpus, clip.emotion, clip.path))
    random.Random(seed).shuffle(shuffled)
    shuffled.sort(key=lambda clip: (clip.corpus, clip.emotion))  # stable: still random inside each stratum
    sides: dict[str, list[Clip]] = {"train": [], "val": [], "test": []}
    # dealt out one by one, so that no stratum is more than a clip off its share; val and test are spread over the ten
    turns = itertools.cycle(["train", "train", "test", "train", "train", "val", "train", "test", "train", "train"])
    for clip, side in zip(shuffled, turns, strict=False):
        sides[side].append(clip)
    train, val, test = (tuple(sides[side]) for side in ("train", "val", "test"))
    if not train or not val or not test:
        raise FoldError(f"random split: {len(kept)} clips are too few for three sides; give ten or more")
    return Split(f"random_seed{seed}", train, val, test, dropped, "a tenth of the clips, speakers not separated")


def drop_duplicates(clips: Iterable[Clip]) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """The clips without second copies, and the copies, both sorted by path.

    Known copies: a path given twice, and the pairs named in `KNOWN`. Others, `tonelight-train data verify` names.
    """
    twin_of = {(name, second): first for name, known in KNOWN.items() for first, second in known.twins}
    ordered = sorted(clips, key=lambda clip: (clip.corpus, clip.path))
    stems = {(clip.corpus, clip.path.stem) for clip in ordered}
    kept: list[Clip] = []
    dropped: list[Clip] = []
    paths: set[Path] = set()
    for clip in ordered:
        twin = (clip.corpus, twin_of.get((clip.corpus, clip.path.stem), ""))
        if clip.path in paths or twin in stems:
            dropped.append(clip)
        else:
            kept.append(clip)
            paths.add(clip.path)
    return tuple(kept), tuple(dropped)


def validation_speakers(clips: Iterable[Clip], after: str = "") -> list[str]:
    """The speakers of one corpus's training `clips` that validate: one in eight, at least one; none of a sole speaker.

    In order of their names, starting after the speaker `after` and beginning again at the end, so that each fold has
    others; women and men in turn where the gender of all is known.
    """
    genders = {clip.speaker: clip.gender for clip in clips if clip.speaker != UNKNOWN_SPEAKER}
    if len(genders) < 2:
        return []
    names = sorted(genders)
    names = [name for name in names if name > after] + [name for name in names if name <= after]
    if all(genders.values()):
        women = [name for name in names if genders[name] == "female"]
        men = [name for name in names if genders[name] == "male"]
        names = [name for pair in itertools.zip_longest(women, men) for name in pair if name]
    return names[: max(1, len(names) // 8)]


def _hold_out(clips: Sequence[Clip], name: str) -> tuple[tuple[Clip, ...], tuple[Clip, ...], str]:
    """Training and validation clips out of `clips`: by speaker, as good as the number of speakers allows."""
    by_corpus: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_corpus[clip.corpus].append(clip)
    n_speakers = {corpus: len({c.speaker for c in own} - {UNKNOWN_SPEAKER}) for corpus, own in by_corpus.items()}
    for enough in (_MIN_SPEAKERS, 2):
        val = {
            f"{corpus}/{speaker}"
            for corpus, own in by_corpus.items()
            if n_speakers[corpus] >= enough
            for speaker in validation_speakers(own)
        }
        if val:
            return *_part(clips, val), f"speakers of {', '.join(sorted({one.partition('/')[0] for one in val}))}"
    known = [clip for clip in clips if clip.speaker != UNKNOWN_SPEAKER]
    texts = sorted({clip.text for clip in known if clip.text})[::8]
    held = tuple(clip for clip in known if clip.text in texts)
    kept = tuple(clip for clip in clips if clip.speaker == UNKNOWN_SPEAKER or clip.text not in texts)
    if not held or not kept:
        raise FoldError(
            f"{name}: no speaker can be spared for validation; add a corpus, or put recordings of unknown speakers "
            "into one folder for each speaker"
        )
    return kept, held, "an eighth of the texts of the speakers that train: no other speaker is left"


def _part(clips: Iterable[Clip], speaker_ids: Collection[str]) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """The clips of all other speakers, and those of `speaker_ids`."""
    everybody = list(clips)
    return (
        tuple(clip for clip in everybody if clip.speaker_id not in speaker_ids),
        tuple(clip for clip in everybody if clip.speaker_id in speaker_ids),
    )


def _require_speakers(clips: Iterable[Clip], corpus: str) -> None:
    unknown = [clip for clip in clips if clip.speaker == UNKNOWN_SPEAKER]
    if unknown:
        raise FoldError(
            f"{corpus}: {len(unknown)} clips have no speaker, {unknown[0].path} among them, so voices could be on both "
            "sides; name the speakers in the manifest, or put the files into one folder for each speaker"
        )


def _checked(split: Split, clips: Sequence[Clip]) -> Split:
    """`split`, after making sure that it keeps what this module promises."""
    sides = {"train": split.train, "val": split.val, "test": split.test}
    for side, own in sides.items():
        if not own and not (side == "test" and split.name == "everything"):
            raise FoldError(f"{split.name}: nothing is left for {side}; add speakers or corpora")
    tested = {clip.speaker_id for clip in split.test}
    shared = tested & {clip.speaker_id for clip in (*split.train, *split.val)}
    if shared:
        raise FoldError(f"{split.name}: {', '.join(sorted(shared))} would be on two sides")
    placed = sorted(str(clip.path) for own in (*sides.values(), split.dropped) for clip in own)
    if placed != sorted(str(clip.path) for clip in clips):
        raise FoldError(f"{split.name}: not every clip is placed exactly once")
    return split
