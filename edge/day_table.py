"""A day in the terminal: a line for each hour, in colours and in letters, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TextIO

from edge.commands.common import activation_in_words
from edge.day import FELT, Day, Part, in_words
from edge.events import UNCERTAIN
from edge.leds.base import COLOURS, Rgb, parse_colour
from edge.leds.ink import Ink

# the first letter where it is free
LETTERS: Final[Mapping[str, str]] = {name: name[0].upper() for name in FELT} | {"surprised": "U", UNCERTAIN: "."}
_GREY: Final[Rgb] = (0.35, 0.35, 0.35)
_BESIDE: Final = len("  00:00   59 min  ") + len("  high 100%  surprised")


def write_day(day: Day, out: TextIO, ink: Ink, columns: int, colours: Mapping[str, str] | None = None) -> None:
    """Write `day` to `out`, in lines of less than `columns` where that is possible.

    The bar of an hour is as long as was spoken in it; each of its cells has the letter and the colour of an emotion.
    `colours` gives other colours than the usual ones, as `leds.colours` does.
    """
    rgb = {name: parse_colour(text) for name, text in {**COLOURS, **(colours or {})}.items()} | {UNCERTAIN: _GREY}
    title = f"{day.date:%A} {day.date.day} {day.date:%B %Y}"
    whole = day.whole
    if not whole.n_stretches:
        out.write(f"{title}: nothing was heard\n")
        return
    stretches = "1 stretch" if whole.n_stretches == 1 else f"{whole.n_stretches} stretches"
    out.write(f"{ink.bold(title)}: {in_words(whole.spoken_s)} of speech in {stretches}\n\n")
    n_bar = max(8, min(72, columns - 1 - _BESIDE))
    heard = [i for i, part in enumerate(day.parts) if part.n_stretches]
    parts = day.parts[heard[0] : heard[-1] + 1]
    longest_s = max(part.spoken_s for part in parts)
    for part in parts:
        if not part.n_stretches:
            out.write(ink.faint(f"  {part.start:%H:%M}") + "\n")
            continue
        cells = _cells(part, max(1, round(n_bar * part.spoken_s / longest_s)) if longest_s else 1)
        bar = "".join(ink.filled(LETTERS[name] * n, rgb[name]) for name, n in cells.items())
        activation = "" if part.activation is None else activation_in_words(part.activation)
        out.write(
            f"  {part.start:%H:%M} {in_words(part.spoken_s):>8}  {bar}{' ' * (n_bar - sum(cells.values()))}"
            f"  {activation:<9}  {part.most_felt or UNCERTAIN}\n"
        )
    out.write("\n")
    for name in FELT:
        if whole.felt_s[name]:
            share = whole.felt_s[name] / whole.spoken_s
            letter = ink.filled(f" {LETTERS[name]} ", rgb[name])
            out.write(f"  {letter} {name:<9} {in_words(whole.felt_s[name]):>8} {share:>5.0%}\n")
    felt = f"most felt: {whole.most_felt}" if whole.most_felt else "no emotion was sure"
    activation = "" if whole.activation is None else f"; activation: {' '.join(_activation(whole.activation))}"
    out.write(f"\n  {felt}{activation}\n")


def _activation(activation: float) -> list[str]:
    return activation_in_words(activation).split()


def _cells(part: Part, n_cells: int) -> dict[str, int]:
    """`n_cells` divided among what was felt: whole shares first, the rest to those who miss most of theirs."""
    if not part.spoken_s:
        return {UNCERTAIN: n_cells}
    exact = {name: n_cells * part.felt_s[name] / part.spoken_s for name in FELT}
    cells = {name: int(share) for name, share in exact.items()}
    missing = sorted(FELT, key=lambda name: cells[name] - exact[name])
    for name in missing[: n_cells - sum(cells.values())]:
        cells[name] += 1
    return cells
