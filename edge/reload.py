"""What `systemctl reload` asks for: configuration and bundle are read again, and taken over between two blocks.

The microphone stays open: it takes a fraction of a second, and the source keeps seconds. What cannot be used is refused
with a line in the log, and everything goes on as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from edge import notify
from edge.bundle import Bundle
from edge.button import Buttons
from edge.config import Config
from edge.daemon import Successors
from edge.errors import LightError, TonelightError
from edge.history import History
from edge.leds import Lights, open_lights
from edge.pipeline import Pipeline
from edge.recorder import Recorder

log = logging.getLogger(__name__)


@dataclass
class Request:
    """Made by a signal handler, which may do no more than that, or by whatever else wants it."""

    is_made: bool = False

    def make(self) -> None:
        self.is_made = True


class Reload:
    """Asked by the daemon between blocks; what it answers goes on.

    Taken over are model, lights, buttons, limits and when to end. All else waits for a restart, and is named. Page and
    view go on with the colours, and the page with the bundle, that they began with.

    Args:
        request: whether anybody wants it.
        loaded, bundle, lights, buttons, history, recorder: what runs now.
        read: the configuration as it is now.
        look: the bundle that configuration asks for, as it is now.
        open_bundle: the same, with its pipeline, replayed and counted.
    """

    def __init__(
        self,
        request: Request,
        *,
        loaded: Config,
        bundle: Bundle,
        lights: Lights,
        buttons: Buttons,
        history: History | None,
        recorder: Recorder,
        read: Callable[[], Config],
        look: Callable[[Config], Bundle],
        open_bundle: Callable[[Config], tuple[Bundle, Pipeline]],
    ) -> None:
        self._request = request
        self._loaded = loaded
        self._bundle = bundle
        self._lights = lights
        self._buttons = buttons
        self._history = history
        self._recorder = recorder
        self._read = read
        self._look = look
        self._open = open_bundle

    def __call__(self) -> Successors | None:
        """What is to go on, or None for what goes on already."""
        if not self._request.is_made:
            return None
        self._request.is_made = False
        notify.reloading()
        try:
            return self._successors()
        except TonelightError as error:
            log.error("not reloaded, %s listens as before: %s", self._bundle.id, error)
            return None
        finally:
            notify.ready()

    def _successors(self) -> Successors | None:
        fresh = self._read()
        wanted = _beside_what_waits(fresh, self._loaded)
        pipeline = None
        if self._look(wanted).manifest != self._bundle.manifest:
            self._bundle, pipeline = self._open(wanted)
        waiting = list(_changed(wanted, fresh))
        if waiting:
            log.warning("%s: what changed there waits for `sudo systemctl restart tonelight`", ", ".join(waiting))
        if pipeline is None and wanted == self._loaded:
            log.info("reloaded: %s listens as before", self._bundle.id)
            return None
        self._fit(wanted)
        log.info("reloaded: %s listens", self._bundle.id)
        return Successors(pipeline, self._bundle.id, self._lights, wanted.stop_after_silence_s)

    def _fit(self, wanted: Config) -> None:
        """Bring everything but the pipeline to where it is wanted."""
        before, self._loaded = self._loaded, wanted
        has_other_lights = wanted.leds != before.leds
        has_other_buttons = (wanted.mute, wanted.capture.buttons) != (before.mute, before.capture.buttons)
        # two cannot hold the same pin: what goes comes first
        if has_other_buttons:
            self._buttons.close()
        if has_other_lights:
            try:
                self._lights.close()
            except LightError as error:
                log.error("%s", error)
            self._lights = open_lights(wanted.leds)
        if has_other_buttons:
            self._buttons.fit(wanted)
        if self._history is not None:
            self._history.limit(wanted.history.max_mb, wanted.history.max_days)
        self._recorder.limit(wanted.capture)


def _beside_what_waits(fresh: Config, loaded: Config) -> Config:
    """What is taken over of `fresh`, together with all else as it is in `loaded`."""
    log_file = msgspec.structs.replace(loaded.history, max_mb=fresh.history.max_mb, max_days=fresh.history.max_days)
    return msgspec.structs.replace(
        loaded,
        stop_after_silence_s=fresh.stop_after_silence_s,
        model=fresh.model,
        leds=fresh.leds,
        mute=fresh.mute,
        capture=fresh.capture,
        history=log_file,
    )


def _changed(before: msgspec.Struct, after: msgspec.Struct, prefix: str = "") -> Iterator[str]:
    """The dotted names of the keys that differ."""
    for field in msgspec.structs.fields(type(before)):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if isinstance(old, msgspec.Struct):
            yield from _changed(old, new, f"{prefix}{field.encode_name}.")
        elif old != new:
            yield prefix + field.encode_name
