"""docs/endurance.md, from the figures that benchmarks.endurance and benchmarks.fuzz left behind."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any, Final

FED: Final = {
    "config": "`config.toml`, its bytes and its keys, values, tables; what is taken is written back and read again",
    "manifest": "`manifest.json`, its bytes and its structure; with what is taken, a second of sound is heard",
    "recording": "recordings in every format that libsndfile writes here",
    "health": "`health.json`, which `doctor` reads",
    "key": "public keys",
    "bundle": "one file of a signed bundle changed: to be refused, unless it is the signature and says the same",
    "history": "`history.db` and the write-ahead log beside it; what is heard next must be in the log",
    "golden": "`golden.npz`, as it is replayed",
    "sound": "any samples a microphone can give, through the pipeline",
    "model": "`model.tflite`, behind hash and signature, into the interpreter",
}


def write(figures: Path, document: Path) -> None:
    """Write what is known by now; parts that have not been run are left out."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(figures.glob("*.json"))}
    if "day" in found:
        minutes = [json.loads(line) for line in (figures / "day.jsonl").read_text().splitlines()]
        found["day"] |= {"rss_two": minutes[120]["rss"], "rss_half": minutes[len(minutes) // 2]["rss"]}
    parts = [text(found[name]) for name, text in PARTS.items() if name in found]
    document.write_text("\n\n".join(map(_filled, [HEAD, *parts])) + "\n")


def _filled(text: str) -> str:
    """Paragraphs in lines of equal length; tables and headings as they are."""
    return "\n\n".join(
        part
        if part.startswith(("|", "#"))
        else textwrap.fill(part, 120, break_long_words=False, break_on_hyphens=False)
        for part in text.split("\n\n")
    )


HEAD: Final = """\
# How long it lasts, and what it can be fed

`python -m benchmarks.endurance` and `python -m benchmarks.fuzz` measure this; the first one also writes this page from
what both have left in `build/endurance`. They run for half an hour to an hour and can be interrupted: what is done is
not repeated."""


def _day(f: dict[str, Any]) -> str:
    mqtt = "" if f["n_mqtt"] is None else f", {f['n_mqtt']} told by MQTT"
    return f"""\
## {f["hours"]} hours of sound

The real daemon with log, page, MQTT, metrics and health file hears {f["hours"]} hours of a room: a minute holds 25 s of
the demo recording, louder and softer, at another moment each time. The clock runs with the sound, so that this takes
{f["wall_s"] / 60:.0f} minutes ({f["n_blocks"]:,} blocks: of 1 s, and of 20 ms in one minute of 24; {f["date"]},
{f["machine"]}).

| | |
| --- | --- |
| stretches of speech | {f["n_events"]} heard, {f["n_logged"]} in the log, {f["n_observed"]} told to an observer{mqtt} |
| minutes without one | {f["n_minutes_without"]} |
| compared with a bare pipeline, the first {f["n_checked_minutes"] / 60:g} h | {f["n_wanted"]} stretches, \
{f["n_differing"]} missing or different |
| memory after 1 min, 1 h, 2 h, {f["hours"] // 2} h, {f["hours"]} h | {_mb(f["rss_first"])}, {_mb(f["rss_hour"])}, \
{_mb(f["rss_two"])}, {_mb(f["rss_half"])}, {_mb(f["rss_last"])} |
| growth after the first minute | {_mb(f["rss_last"] - f["rss_first"])} |
| memory of the page's process after 1 h, {f["hours"]} h | {_mb(f["page_hour"])}, {_mb(f["page_last"])} |
| open files after 1 min, at most, {f["hours"]} h | {f["fds_first"]}, {f["fds_most"]}, {f["fds_last"]} |
| threads after 1 min, {f["hours"]} h | {f["threads_first"]}, {f["threads_last"]} |

Growth includes what fills up once: caches, and the memory that Python and the C library keep for later. A leak would go
on hour after hour: growth from the second hour to the last is {_mb(f["rss_last"] - f["rss_two"])}, and in the second
half of the time {_mb(f["rss_last"] - f["rss_half"])}."""


def _unplug(f: dict[str, Any]) -> str:
    return f"""\
## A microphone that is pulled out {f["n_unplugged"]} times

A source that fails in the middle of sound, is refused {f["n_refused"]} times when it is opened anew, and goes on with
what comes next ({f["hours"]:.1f} h of sound): {f["n_wanted"]} stretches of speech were to be heard, {f["n_logged"]} are
in the log, {f["n_differing"]} are missing or different. Open files: {f["fds_first"]} before, {f["fds_last"]} after."""


def _microphone(f: dict[str, Any]) -> str:
    return f"""\
The same with a real stream of PortAudio and ALSA that stalls, whose device is then gone from the list and comes back,
{f["n_unplugged"]} times (the daemon's clock runs faster, its waits are short): after each it listened again
({f["n_listening"]} times in all), {f["n_detections"]} stretches were heard and {f["n_logged"]} are in the log. Open
files: {f["fds_first"]} after the first time, {f["fds_last"]} after the last; threads: {f["threads_first"]} and
{f["threads_last"]}. Memory, with what makes the sound in the same process: {_mb(f["rss_first"])} after ten times,
{_mb(f["rss_half"])} after half of them, {_mb(f["rss_last"])} at the end."""


def _switch(f: dict[str, Any]) -> str:
    faults = "no fault" if not f["faults"] else f"{len(f['faults'])} FAULTS: {f['faults']}"
    return f"""\
## Killed {f["n_kills"]} times while bundles are switched

`kill -9` for `tonelight run` and for whoever installs and activates signed bundles at that moment, both at any time
after the first switch ({f["n_switched"]} switches in all, {f["n_bundles"]} different bundles active after a kill).
After each, the active bundle is verified (signature, hashes, golden vectors) and all others are loaded: {faults}. In
half of the cycles the daemon got as far as to listen before it was killed ({f["n_listened"]} of {f["n_kills"] // 2});
in the others it was killed while it started."""


def _fuzz(f: dict[str, Any]) -> str:
    targets = f["targets"]
    rows = []
    for name, t in targets.items():
        others = Counter(words.split(":")[0] for _, words in t["findings"])
        said = ", ".join(f"{n} {kind}" for kind, n in others.items()) or "0"
        rows.append(f"| {name} | {FED[name]} | {t['n']:,} | {t['taken']:,} | {t['refused']:,} | {said} |")
    n_fed = sum(t["n"] for t in targets.values())
    n_mended = sum(len(t["mended"]) for t in targets.values())
    model = targets.get("model", {"n": 0, "findings": []})
    return f"""\
## {n_fed:,} inputs that are wrong

Each is a function of target, seed ({f["seed"]}) and number, and is fed in a process of its own with a limit of memory
and of time. It may be taken, or refused by one line that can be printed; everything else counts. {n_mended} of this run
were mended during it, and fed once more; the findings before are tests by now. ({f["date"]}, {f["machine"]})

| target | what is fed | fed | taken | refused | anything else |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

The row `model` is what signatures are for: of {model["n"]:,} damaged networks, {len(model["findings"])} ended the
process of the interpreter or were no clean refusal. None of them gets there by `tonelight model install`, which refuses
every changed file (row `bundle`); a bundle named by `--bundle` or `model.bundle` is checked by its hashes only."""


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"


PARTS: Final = {"day": _day, "unplug": _unplug, "microphone": _microphone, "switch": _switch, "fuzz": _fuzz}
