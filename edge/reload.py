"""What `systemctl reload` asks for: configuration and bundle are read again, and taken over between two blocks.

The microphone stays open: it takes a fraction of a second, and the source keeps seconds. What cannot be used is refused
with a line in the log, and everything goes on as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from edge import notify
from edge.bundle import Bundle
from edge.commands.common import open_pipeline
from edge.config import Config
from edge.daemon import Successors
from edge.errors import ConfigError, LightError, TonelightError
from edge.leds import Lights, open_lights
from edge.pipeline import Pipeline

log = logging.getLogger(__name__)

_TAKEN_OVER = ("model", "leds")


@dataclass
class Request:
    """Set by a signal handler, which may do no more than that."""

    is_made: bool = False


class Reload:
    """Asked by the daemon between blocks; what it answers goes on.

    Args:
        request: whether anybody wants it.
        loaded, bundle, lights: what runs now.
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
        read: Callable[[], Config],
        look: Callable[[Config], Bundle],
        open_bundle: Callable[[Config], tuple[Bundle, Pipeline]],
    ) -> None:
        self._request = request
        self._loaded = loaded
        self._bundle = bundle
        self._lights = lights
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
        has_other_lights = fresh.leds != self._loaded.leds
        goes_on = self._beside_what_waits(fresh)
        if self._look(fresh).manifest != self._bundle.manifest:
            self._bundle, pipeline = self._open(fresh)
        elif has_other_lights:
            pipeline = open_pipeline(self._bundle)  # what goes on begins afresh
        else:
            self._name_what_waits(fresh)
            log.info("reloaded: %s listens as before", self._bundle.id)
            return None
        if has_other_lights:
            try:
                self._lights.close()  # two cannot hold the same pins
            except LightError as error:
                log.error("%s", error)
            self._lights = open_lights(fresh.leds)
        self._name_what_waits(fresh)
        self._loaded = goes_on
        log.info("reloaded: %s listens", self._bundle.id)
        return Successors(pipeline, self._bundle.id, self._lights)

    def _beside_what_waits(self, fresh: Config) -> Config:
        """What is taken over of `fresh`, together with all else as it runs.

        Raises:
            ConfigError: the new light wants a pin of a button that is still in use.
        """
        try:
            return msgspec.structs.replace(self._loaded, model=fresh.model, leds=fresh.leds)
        except ValueError as error:
            raise ConfigError(
                f"the button that is in use now goes only with `sudo systemctl restart tonelight` ({error})"
            ) from None

    def _name_what_waits(self, fresh: Config) -> None:
        fields = [field for field in msgspec.structs.fields(Config) if field.name not in _TAKEN_OVER]
        waiting = [each.encode_name for each in fields if getattr(fresh, each.name) != getattr(self._loaded, each.name)]
        if waiting:
            log.warning("%s: what changed there waits for `sudo systemctl restart tonelight`", ", ".join(waiting))
