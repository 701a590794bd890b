"""The live view of `run` in a terminal: the tone now, all eight emotions, the level, what was heard, and how it is.

A screen of its own, drawn by a thread of its own: a terminal that takes its time (a slow line, Ctrl-S) holds up the
picture and nothing else. Only lines that have changed are written, so that nothing flickers.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TextIO

from edge.commands.common import activation_in_words
from edge.errors import LightError
from edge.events import UNCERTAIN, Score
from edge.history import Event
from edge.labels import EMOTIONS
from edge.leds.base import COLOURS, Rgb, activation_colour, parse_colour
from edge.leds.ink import CSI, Ink
from edge.leds.lights import HOLD_S
from edge.observers import Health, Phase
from edge.sources import SAMPLE_RATE_HZ

DRAW_S: Final = 0.1
"""The picture changes at most this often."""
QUIETEST_DB: Final = -80.0
"""Where the scale of the level begins; it ends at 0 dB, as loud as can be."""
_N_KEPT: Final = 100  # events and messages; more than any terminal has lines
_STOP_S: Final = 1.0  # a terminal that takes longer than this to be left is left as it is
_RED: Final[Rgb] = (1.0, 0.25, 0.2)
_GREY: Final[Rgb] = (0.35, 0.35, 0.35)
_VALUE: Final = len("  high 100%")
_WORD: Final = max(map(len, (*EMOTIONS, UNCERTAIN, "activation")))

_ENTER: Final = f"{CSI}?1049h{CSI}?25l{CSI}2J"
_LEAVE: Final = f"{CSI}0m{CSI}?25h{CSI}?1049l"


@dataclass(frozen=True)
class Scene:
    """What there is to be seen at one moment. `tone` is None while nobody has spoken for a while."""

    health: Health | None = None
    level_db: float = QUIETEST_DB
    is_speaking: bool = False
    tone: Score | Event | None = None
    events: tuple[Event, ...] = ()
    """The last ones, oldest first."""
    messages: tuple[str, ...] = ()
    """The last lines of the program's own log, oldest first."""
    colours: Mapping[str, Rgb] = field(default_factory=lambda: {name: parse_colour(c) for name, c in COLOURS.items()})


class View:
    """An observer that draws what it is told on `stream`, from the first word on health until it is closed.

    `colours` gives other colours than the usual ones, as `leds.colours` does. `clock` and `environ` are for tests.
    """

    def __init__(
        self,
        stream: TextIO = sys.stdout,
        colours: Mapping[str, str] | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises:
        LightError: `stream` is no terminal that can be drawn on.
        """
        self._ink = Ink(stream, environ)
        if not self._ink.is_live:
            raise LightError("--view draws in a terminal, and the output goes to none; leave out --view")
        self._fd = stream.fileno()
        self._encoding = getattr(stream, "encoding", None) or "ascii"
        self._clock = clock
        self._lock = threading.Lock()
        self._scene = Scene(colours={name: parse_colour(c) for name, c in {**COLOURS, **(colours or {})}.items()})
        self._loudest_db = QUIETEST_DB  # since the last picture
        self._heard_s = float("-inf")
        self._events: deque[Event] = deque(maxlen=_N_KEPT)
        self._messages: deque[str] = deque(maxlen=_N_KEPT)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._modes: list[Any] | None = None  # of the terminal, as they were before

    @property
    def messages(self) -> list[str]:
        """What `tell` was told, for whoever wants to keep it when the screen is gone."""
        return list(self._messages)

    def tell(self, message: str) -> None:
        """Show a line of the program's own log."""
        with self._lock:
            self._messages.append(message)

    def on_level(self, level_db: float, speaking: bool) -> None:
        """See `edge.observers.Observer`."""
        with self._lock:
            self._loudest_db = max(self._loudest_db, level_db)
            if speaking != self._scene.is_speaking:
                self._scene = replace(self._scene, is_speaking=speaking)

    def on_score(self, score: Score) -> None:
        """See `edge.observers.Observer`."""
        self._hear(score)

    def on_event(self, event: Event) -> None:
        """See `edge.observers.Observer`."""
        with self._lock:
            self._events.append(event)
        self._hear(event)

    def on_health(self, health: Health) -> None:
        """See `edge.observers.Observer`; the first call begins to draw."""
        with self._lock:
            self._scene = replace(self._scene, health=health)
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._draw_on, name="view", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Leave the terminal as it was found. Further calls do nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
            self._thread = None
        modes, self._modes = self._modes, None
        if modes is not None:
            with suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, modes)
                termios.tcflush(self._fd, termios.TCIFLUSH)  # what was typed meanwhile was not meant for the shell

    def _hear(self, tone: Score | Event) -> None:
        with self._lock:
            self._heard_s = self._clock()
            self._scene = replace(self._scene, tone=tone)

    def _take(self) -> Scene:
        """What is to be drawn now."""
        with self._lock:
            level_db, self._loudest_db = self._loudest_db, QUIETEST_DB
            is_over = self._clock() - self._heard_s >= HOLD_S
            return replace(
                self._scene,
                level_db=level_db,
                tone=None if is_over else self._scene.tone,
                events=tuple(self._events),
                messages=tuple(self._messages),
            )

    def _draw_on(self) -> None:
        """The thread: one picture after the other, until it is stopped or the terminal has gone."""
        drawn: list[str] = []
        size = None
        with suppress(OSError, termios.error):
            self._keep_still()
            try:
                self._write(_ENTER)
                while not self._stop.is_set():
                    now = os.get_terminal_size(self._fd)
                    if now != size:
                        size, drawn = now, []
                        self._write(f"{CSI}2J")
                    lines = picture(self._take(), self._ink, size.columns, size.lines)
                    self._write(_changes(drawn, lines))
                    drawn = lines
                    self._stop.wait(DRAW_S)
            finally:
                self._write(_LEAVE)

    def _keep_still(self) -> None:
        """What is typed is not shown, and Ctrl-Z does not leave a shell within this screen; Ctrl-C works as ever."""
        self._modes = termios.tcgetattr(self._fd)
        still = termios.tcgetattr(self._fd)
        still[3] &= ~(termios.ECHO | termios.ICANON)
        still[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(self._fd, termios.TCSANOW, still)

    def _write(self, text: str) -> None:
        data = text.encode(self._encoding, "replace")
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # some program before left the terminal so
                select.select([], [self._fd], [], DRAW_S)


def _changes(drawn: list[str], lines: list[str]) -> str:
    """What turns the lines on the screen into others."""
    return "".join(
        f"{CSI}{row};1H{line}{CSI}K" for row, line in enumerate(lines, 1) if row > len(drawn) or drawn[row - 1] != line
    )


def picture(scene: Scene, ink: Ink, columns: int, rows: int) -> list[str]:
    """`rows` lines, each of less than `columns`, that show `scene`. Where room is short, what matters least goes."""
    # the last column stays free: writing there makes some terminals wrap
    draw = _Drawing(scene, ink, max(columns - 1, 1))
    blank = [""] if rows >= 20 else []
    top = [*draw.head(), *blank, *draw.now(), *blank]
    bars = draw.bars() + blank
    foot = draw.foot()
    if rows < len(top) + len(foot):
        return (draw.now() + draw.head())[:rows] + [""] * max(0, rows - len(draw.now()) - 1)
    if rows >= len(top) + len(bars) + len(foot):
        top += bars
    n_left = rows - len(top) - len(foot)
    messages = draw.messages(min(2, n_left // 4))
    n_left -= len(messages)
    heard = draw.heard(n_left)
    return [*top, *heard, *[""] * (n_left - len(heard)), *messages, *foot]


class _Drawing:
    """The parts of one picture."""

    def __init__(self, scene: Scene, ink: Ink, n_columns: int) -> None:
        self._scene = scene
        self._ink = ink
        self._n = n_columns
        self._phase = scene.health.phase if scene.health else Phase.STARTING
        self._tone = scene.tone if self._phase is Phase.LISTENING else None
        self._n_patch = 8 if n_columns >= 40 else 2 if n_columns >= 16 else 0
        self._beside_patch = n_columns - (self._n_patch and self._n_patch + 5)
        self._full, self._empty, self._mark = ("━", "─", "●") if ink.has_blocks else ("#", ".", "o")

    def head(self) -> list[str]:
        """Whose light it is, and what it is doing."""
        node = self._scene.health.node if self._scene.health else ""
        is_capturing = self._scene.health is not None and self._scene.health.capturing_s > 0
        title = "clips are kept" if is_capturing else "tonelight"  # where it is seen however narrow the terminal is
        return [self._spread(self._ink.bold, f"{title}  {node}", self._phase.value)]

    def now(self) -> list[str]:
        """Three lines beside a patch of colour: the emotion, the activation, the level; or what is wrong."""
        lines = self._trouble() or [self._emotion(), self._activation(), self._level()]
        patch = f"  {self._patch(self._n_patch)}   " if self._n_patch else ""
        return [f"{patch}{line}" for line in lines]

    def bars(self) -> list[str]:
        """A line for each emotion."""
        probs = self._tone.probs if self._tone else {}
        n_bar = self._n - _WORD - 9
        lines = []
        for emotion in EMOTIONS:
            share = probs.get(emotion)
            word = f"  {emotion:<{_WORD}}"
            percent = "" if share is None else f"{share:>6.0%}"
            if n_bar < 4:
                lines.append(self._cut(f"{word}{percent}"))
                continue
            lines.append(f"{word} {self._filled(share or 0.0, n_bar, self._scene.colours[emotion])}{percent}")
        return lines

    def heard(self, n_lines: int) -> list[str]:
        """A title and the last events, the newest first, in at most `n_lines`."""
        if n_lines < 2:
            return []
        lines = [self._ink.faint(self._cut("  last heard"))]
        for event in list(reversed(self._scene.events))[: n_lines - 1]:
            # before Python 3.11 `fromisoformat` does not know "Z"
            when = datetime.fromisoformat(event.ts.replace("Z", "+00:00")).astimezone()
            name = UNCERTAIN if event.uncertain else event.label
            sure = "" if event.uncertain else f"{event.confidence:.0%}"
            activation = "" if event.activation is None else f"activation {activation_in_words(event.activation)}"
            colour = self._scene.colours.get(name, _GREY)
            before = f"  {when:%H:%M:%S} "
            after = f" {name:<{_WORD}} {sure:>4}  {event.end_s - event.start_s:>5.1f} s  {activation}"
            room = self._n - len(before) - 1
            lines.append(
                self._cut(before) + self._ink.painted(self._mark, colour) + after[: max(room, 0)].rstrip()
                if room > 0
                else self._cut(before)
            )
        return lines

    def messages(self, n_lines: int) -> list[str]:
        """The last lines of the log."""
        last = self._scene.messages[-n_lines:] if n_lines else ()
        return [self._ink.faint(self._cut(f"  {' '.join(message.split())}")) for message in last]

    def foot(self) -> list[str]:
        """How it is."""
        health = self._scene.health
        if health is None:
            return [""]
        lost = f"{health.n_lost / SAMPLE_RATE_HZ:.1f} s lost" if health.n_gaps else "nothing lost"
        heard = f"{health.n_detections} heard"
        facts = [health.microphone or "no microphone", health.model, heard, lost, f"up {_clock_text(health.uptime_s)}"]
        dot = " · " if self._ink.has_blocks else " - "
        while len(facts) > 1 and 2 + len(dot.join(facts)) > self._n:
            facts.pop(1)  # what does not fit, but for what is listened to
        return [self._spread(self._ink.faint, dot.join(facts), "Ctrl-C ends")]

    def _trouble(self) -> list[str]:
        if self._phase is Phase.LISTENING:
            return []
        reason = self._scene.health.reason if self._scene.health else ""
        if self._phase is Phase.MUTED:
            reason = "nothing is captured until `tonelight unmute`"
        room = self._beside_patch
        said = textwrap.wrap(reason, room, max_lines=2, placeholder=" ...") if room > 4 else []
        word = self._ink.bold(self._phase.value[:room])
        return [word, *said, "", ""][:3]

    def _emotion(self) -> str:
        if self._tone is None:
            return self._beside("quiet" if not self._scene.is_speaking else "listening", "")
        name, confidence = _shown(self._tone)
        return self._beside(name, f"{confidence:.0%}" if name != UNCERTAIN else "", self._ink.bold)

    def _activation(self) -> str:
        if self._tone is None or self._tone.activation is None:
            return self._beside("activation", "")
        activation, words = self._tone.activation, activation_in_words(self._tone.activation)
        n_scale = self._beside_patch - _WORD - 1 - _VALUE
        if n_scale < 8:
            return self._beside("activation", words)
        at = round(activation * (n_scale - 1))
        mark = self._ink.painted(self._mark, activation_colour(activation))
        before, after = self._empty * at, self._empty * (n_scale - 1 - at)
        return f"{'activation':<{_WORD}} {self._ink.faint(before)}{mark}{self._ink.faint(after)}{words:>{_VALUE}}"

    def _level(self) -> str:
        share = min(1.0, max(0.0, 1 - self._scene.level_db / QUIETEST_DB))
        level = f"{self._scene.level_db:.0f} dB" if self._scene.level_db > QUIETEST_DB else ""
        n_bar = self._beside_patch - _WORD - 1 - _VALUE
        if n_bar < 8:
            return self._beside("level", level)
        colour = (0.9, 0.9, 0.9) if self._scene.is_speaking else (0.5, 0.5, 0.5)
        return f"{'level':<{_WORD}} {self._filled(share, n_bar, colour)}{level:>{_VALUE}}"

    def _beside(self, word: str, value: str, style: Callable[[str], str] = str) -> str:
        return style(f"{word:<{_WORD}} {value}".rstrip()[: self._beside_patch])

    def _patch(self, n_columns: int) -> str:
        if self._phase is not Phase.LISTENING:
            colour: Rgb | None = _RED if self._phase in (Phase.MUTED, Phase.FAULT) else _GREY
        elif self._tone is None:
            colour = None
        else:
            name, _ = _shown(self._tone)
            colour = self._scene.colours.get(name) or activation_colour(self._tone.activation or 0.0)
        if colour is None or not self._ink.has_colour:
            sign = "·." if colour is None else "█#"
            return sign[not self._ink.has_blocks] * n_columns
        return self._ink.filled(" " * n_columns, colour)

    def _filled(self, share: float, n_columns: int, colour: Rgb) -> str:
        n_full = round(n_columns * share)
        return self._ink.painted(self._full * n_full, colour) + self._ink.faint(self._empty * (n_columns - n_full))

    def _spread(self, style: Callable[[str], str], left: str, right: str) -> str:
        """`left` and, where there is room for it, `right` at the other end."""
        gap = self._n - 2 - len(left) - len(right)
        return style(f"  {left}{' ' * gap}{right}") if gap >= 2 else style(self._cut(f"  {left}"))

    def _cut(self, text: str) -> str:
        return text[: self._n]


def _shown(tone: Score | Event) -> tuple[str, float]:
    """The emotion that the light shows for `tone`, or `uncertain`, and its confidence."""
    label = tone.label if isinstance(tone, Score) or not tone.uncertain else None
    return label or UNCERTAIN, tone.confidence


def _clock_text(seconds: float) -> str:
    """A time that runs: "0:12", "1:02:03", "3 d 1:02:03"."""
    n_minutes, second = divmod(int(seconds), 60)
    n_hours, minute = divmod(n_minutes, 60)
    n_days, hour = divmod(n_hours, 24)
    days = f"{n_days} d " if n_days else ""
    return f"{days}{hour}:{minute:02d}:{second:02d}" if n_hours else f"{minute}:{second:02d}"
