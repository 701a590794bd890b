"""`tonelight-train compare`: two bundles on one page, how they differ and what they say of the same recordings.

The page is one HTML file that needs nothing else, and holds counts and figures, no recordings.
"""

from __future__ import annotations

import argparse
import base64
import os
from collections.abc import Callable, Sequence
from html import escape
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from edge.bundle import Bundle, load_bundle
from edge.labels import EMOTIONS
from edge.usage import HelpFormatter

if TYPE_CHECKING:
    from rich.console import Console

    from train_host.corpora.clip import Clip
    from train_host.scoring import Scores

SKIPPED: Final = ("files", "normalizer", "schema", "labels")
"""Parts of a manifest that nobody compares by eye."""
EXAMPLES: Final = """\
examples:
  tonelight-train compare models/tonelight-0.1.0 models/tonelight-0.2.0
  tonelight-train compare models/tonelight-0.1.0 models/tonelight-0.2.0 --only savee --out savee.html
"""
STYLE: Final = """\
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .625rem; text-align: left; border-bottom: 1px solid #8886; vertical-align: top }
img { max-width: 100%; background: white }
figure { display: inline-block; margin: .5rem; width: calc(50% - 1.5rem); min-width: 20rem; vertical-align: top }
.scroll { overflow-x: auto }
"""


def add_arguments(commands: Any) -> None:
    """Add the command to the parser's `commands`."""
    from train_host.corpora.command import add_corpora_argument

    parser: argparse.ArgumentParser = commands.add_parser(
        "compare",
        help="two bundles on one page: settings, and what they say of the same recordings",
        description="Writes one HTML page: in which settings two bundles differ and, where there are corpora, what "
        "each says of the same recordings by the device's own pipeline.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    add_corpora_argument(parser)
    parser.add_argument("bundles", nargs=2, type=Path, metavar="BUNDLE", help="folder of a bundle")
    parser.add_argument("--only", nargs="+", metavar="CORPUS", help="listen to these corpora only (default: all)")
    parser.add_argument("--out", type=Path, default=Path("compare.html"), metavar="FILE", help="default: compare.html")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit status 0. Raises TonelightError where a bundle or the corpora cannot be read."""
    from rich.console import Console

    from train_host.corpora.command import ENV

    a, b = (load_bundle(path) for path in args.bundles)
    console = Console(highlight=False, soft_wrap=True)
    clips = _clips(args) if args.corpora or args.only or os.environ.get(ENV) else []
    args.out.touch()  # what cannot be written is found out before minutes of listening
    scores = _listen([a, b], clips, console)
    args.out.write_text(page(a, b, scores), encoding="utf-8")
    console.print(f"page: {args.out}", markup=False)
    if not clips:
        console.print(f"settings only: name recordings to listen to by --corpora DIR or {ENV}", markup=False)
    return 0


def _clips(args: argparse.Namespace) -> list[Clip]:
    from train_host.corpora import find_corpora
    from train_host.corpora.command import corpora_folder
    from train_host.errors import CorpusError

    root = corpora_folder(args)
    corpora = {corpus.name: corpus for corpus in find_corpora(root)}
    unknown = [name for name in args.only or () if name not in corpora]
    if unknown:
        raise CorpusError(f"{root} holds no corpus {', '.join(unknown)}; it holds {', '.join(corpora)}")
    clips = [clip for name in args.only or corpora for clip in corpora[name].clips]
    if not clips:
        raise CorpusError(f"{root} holds no usable recordings; `tonelight-train data verify` says why")
    return clips


def _listen(bundles: Sequence[Bundle], clips: Sequence[Clip], console: Console) -> tuple[Scores, Scores] | None:
    if not clips:
        return None
    from train_host.scoring import score
    from train_host.train import progress_bar

    with progress_bar(console) as progress:
        found = []
        for side, bundle in zip("AB", bundles, strict=True):
            bar = progress.add_task(f"{side}: {bundle.id}", total=len(clips))
            found.append(score(bundle.path, clips, lambda bar=bar: progress.advance(bar)))  # type: ignore[misc]
    return found[0], found[1]


# --- the page ---------------------------------------------------------------------------------------------------------


def page(a: Bundle, b: Bundle, scores: tuple[Scores, Scores] | None) -> str:
    """The page as HTML. `scores` are of A and of B, of the same clips; None where nothing was listened to."""
    parts = [
        f"<h1>{escape(a.id)} and {escape(b.id)}</h1>",
        f"<p>A is <b>{escape(a.id)}</b> ({escape(str(a.path))}), B is <b>{escape(b.id)}</b> "
        f"({escape(str(b.path))}).</p>",
    ]
    if scores is None:
        parts.append("<p>Settings only: no recordings were at hand.</p>")
    else:
        parts += [*_figures(a, b, *scores), *_emotions(*scores), *_plots(*scores)]
    parts += _settings(a, b)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(a.id)} and {escape(b.id)}'
        f'</title><meta name="viewport" content="width=device-width"><style>\n{STYLE}</style></head>\n<body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _figures(a: Bundle, b: Bundle, in_a: Scores, in_b: Scores) -> list[str]:
    corpora = sorted({clip.corpus for clip in in_a.clips})
    lines, agreement = [], []
    for corpus in corpora:
        mine = [one.of(lambda clip, c=corpus: clip.corpus == c) for one in (in_a, in_b)]  # type: ignore[misc]
        known = [any(use.name == corpus for use in bundle.manifest.corpora) for bundle in (a, b)]
        lines.append(
            (
                corpus,
                {(True, True): "both", (True, False): "A", (False, True): "B"}.get((known[0], known[1]), "neither"),
                str(len(mine[0].clips)),
                *_pair(mine, lambda one: one.uar),
                f"{100 * (mine[1].uar - mine[0].uar):+.1f}",
                _interval(mine[0], mine[1]),
                *_pair(mine, lambda one: one.activation_uar),
                *_pair(mine, lambda one: one.calibration_error, digits=3, scale=1),
                *_pair(mine, lambda one: one.named),
                *_pair(mine, lambda one: one.speech_found),
            )
        )
        right_a, right_b = (one.answers == one.truth for one in mine)
        agreement.append(
            (
                corpus,
                *(str(int(n.sum())) for n in (right_a & right_b, right_a & ~right_b, ~right_a & right_b,
                                              ~right_a & ~right_b)),
                f"{100 * np.mean(mine[0].answers == mine[1].answers):.1f}",
            )
        )  # fmt: skip
    both = [f"{what} {side}" for what in ("UAR",) for side in "AB"]
    rest = [f"{what} {side}" for what in ("activation", "ECE", "named", "speech found") for side in "AB"]
    return [
        "<h2>The same recordings</h2>",
        "<p>By the device's own pipeline, all eight answers allowed; UAR is the mean over the emotions of the share "
        "recognised, in per cent, ECE the calibration error. The interval holds 95% of 2000 draws of speakers: where "
        "it holds 0, the two cannot be told apart on this corpus. <b>A corpus known to a bundle was its training: such "
        "a figure says how well it remembers.</b> Compare two bundles on what is known to neither, or equally to "
        "both.</p>",
        _table(("corpus", "known to", "clips", *both, "B − A", "95% interval", *rest), lines),
        "<h3>Who is right where</h3>",
        _table(("corpus", "both right", "only A", "only B", "neither", "same answer, %"), agreement),
    ]


def _pair(
    both: Sequence[Scores], figure: Callable[[Scores], float], digits: int = 1, scale: float = 100
) -> tuple[str, ...]:
    values = [figure(one) for one in both]
    return tuple("–" if isnan(value) else f"{scale * value:.{digits}f}" for value in values)


def _interval(a: Scores, b: Scores) -> str:
    """Of the difference of the UAR, B less A, over draws of the same speakers for both."""
    from train_host.figures import drawn_uars

    speakers = sorted({clip.speaker for clip in a.clips})
    if len(speakers) < 2:
        return "–"
    counts = [np.array([one.of(lambda clip, w=who: clip.speaker == w).confusion for who in speakers]) for one in (a, b)]  # type: ignore[misc]
    low, high = np.nanpercentile(drawn_uars(counts[1]) - drawn_uars(counts[0]), [2.5, 97.5])
    return f"{100 * low:+.1f} to {100 * high:+.1f}"


def _emotions(a: Scores, b: Scores) -> list[str]:
    from train_host.figures import precision, recall

    lines = []
    recalls, precisions = ([of(one.confusion) for one in (a, b)] for of in (recall, precision))
    for index, emotion in enumerate(EMOTIONS):
        n = int((a.truth == index).sum())
        if n:
            shares = [values[side][index] for values in (recalls, precisions) for side in (0, 1)]
            cells = tuple("–" if isnan(share) else f"{100 * share:.1f}" for share in shares)
            change = 100 * (recalls[1][index] - recalls[0][index])
            lines.append((emotion, str(n), *cells[:2], f"{change:+.1f}", *cells[2:]))
    return [
        "<h2>Emotions, all corpora</h2>",
        _table(("emotion", "clips", "recall A", "recall B", "B − A", "precision A", "precision B"), lines),
    ]


def _plots(a: Scores, b: Scores) -> list[str]:
    from train_host import plots
    from train_host.evaluate.result import coverage, histogram

    right = [one.answers == one.truth for one in (a, b)]
    curves = {side: np.array(coverage(one.confidence, own)) for side, one, own in zip("AB", (a, b), right, strict=True)}
    parts = ["<h2>Plots, all corpora</h2>"]
    with TemporaryDirectory(prefix="tonelight-compare-") as folder:
        path = Path(folder) / "plot.png"
        for side, one in zip("AB", (a, b), strict=True):
            plots.confusion(one.confusion, EMOTIONS, f"answers of {side}", path)
            parts.append(_figure(path, f"Confusion matrix of {side}"))
        for side, one, own in zip("AB", (a, b), right, strict=True):
            plots.reliability(histogram(one.confidence, own), path)
            parts.append(_figure(path, f"Accuracy of {side} over its confidence; a larger dot is more recordings"))
        plots.coverage(curves, path)
        parts.append(_figure(path, "Accuracy among the most confident answers of A and of B"))
    return parts


def _figure(path: Path, words: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{content}" alt="{escape(words)}">'
        f"<figcaption>{escape(words)}</figcaption></figure>"
    )


def _settings(a: Bundle, b: Bundle) -> list[str]:
    each = [_flat({**msgspec.to_builtins(one.manifest), "model.tflite, KiB": round(len(one.model) / 1024)})
            for one in (a, b)]  # fmt: skip
    keys = [key for key in dict.fromkeys([*each[0], *each[1]]) if key.partition(".")[0] not in SKIPPED]
    lines = [(key, *(one.get(key, "–") for one in each)) for key in keys if each[0].get(key) != each[1].get(key)]
    head = ["<h2>Settings that differ</h2>"]
    if not lines:
        same = "They are the same model, too." if a.model == b.model else "The weights differ."
        return [*head, f"<p>None: all settings are the same. {same}</p>"]
    return [*head, _table(("setting", "A", "B"), lines)]


def _flat(settings: dict[str, Any], start: str = "") -> dict[str, str]:
    """Settings as text, by their names joined by dots."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{start}{key}."))
        elif isinstance(value, list | tuple):
            found[start + key] = ", ".join(
                " ".join(map(str, one.values())) if isinstance(one, dict) else str(one) for one in value
            )
        else:
            found[start + key] = f"{value:.4g}" if isinstance(value, float) else str(value)
    return found


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [
        "<tr>" + f'<th scope="row">{escape(line[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in line[1:])
        for line in lines
    ]
    heads = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "</tr>\n".join(rows) + "</tr>"
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>\n<tbody>{body}</tbody></table></div>'
