"""The probation of a bundle: one that cannot be loaded, or with which the daemon does not live, is left by itself.

A bundle that was installed or activated is on probation until the daemon has taken `HEALTHY_S` of sound with it; it is
good then. When the daemon has begun `N_STARTS` times and never got so far, whether it was killed, hung, crashed or
could not load the bundle, the next start goes back to the last good one. The same goes for a good bundle that cannot
be loaded any more. An end in good order does not count, and neither does what comes while the daemon is muted or has no
microphone: a plug that is pulled then says nothing about the bundle.

One with which sound is lost, as it is too slow for the board, does not become good, and each minute like that counts as
a start would: after `N_STARTS` of them, it is left while the daemon goes on.

The count is on the disk before the bundle is loaded, so that no way to die escapes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from edge.bundle import DEFAULT_BUNDLE, SAMPLE_RATE_HZ, default_bundle_path
from edge.errors import BundleError
from edge.events import Score
from edge.history import Event
from edge.observers import Health, Phase
from edge.store import Store

log = logging.getLogger(__name__)

N_STARTS: Final = 3
"""So many starts a bundle has to get through its probation."""
HEALTHY_S: Final = 60.0
"""Sound that must have gone through the pipeline, in seconds."""
BEARABLE_LOSS: Final = 0.01
"""Share of the sound that may be lost during the probation."""
_LONGEST_BLOCK_S: Final = 1.0  # between two blocks further apart, the microphone was away

_Loaded = TypeVar("_Loaded")


class Probation:
    """Chooses the bundle that listens, and watches over it as an observer of the daemon.

    `leave` has the daemon take up the active bundle, which is another one now; `clock` gives seconds and only runs
    forward.
    """

    def __init__(self, store: Store, leave: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._leave = leave
        self._clock = clock
        self._bundle: str | None = None
        self._is_on = False
        self._n_starts = 0  # without getting through, this one included
        self._is_tried = True  # this start counts
        self._is_slow = False
        self._n_lost = 0  # samples, since the daemon's start
        self._n_lost_before: int | None = None  # the same, when `_healthy_s` was 0
        self._healthy_s = 0.0
        self._block_s: float | None = None  # when the last block came
        self._has_complained = False

    def begin(self, load: Callable[[Path], _Loaded]) -> _Loaded:
        """Return what `load` makes of the folder of the bundle that is to listen.

        It is the active one, or the last good one where the active one has had its `N_STARTS`, or, where the store
        itself is broken, the one that comes with the program.

        Raises:
            BundleError: `load` refuses the bundle; that start has been counted.
        """
        self._healthy_s, self._block_s, self._has_complained = 0.0, None, False
        self._is_slow, self._n_lost_before = False, None
        try:
            folder, is_only_one = self._choose()
        except BundleError as error:
            return self._resort(load, error)
        try:
            loaded = load(folder)
        except BundleError as error:
            if is_only_one:
                raise
            if not self._is_on:
                self._n_starts += 1
            self._is_on = False  # nothing listens with it
            if not self._count(self._n_starts):
                return self._resort(load, error)
            raise BundleError(
                f"{error} (start {self._n_starts} of {N_STARTS}; after the last one, the last good bundle listens)"
            ) from None
        if not self._is_on and self._n_starts:
            self._count(0)  # a good one had a bad day
        return loaded

    def end(self) -> None:
        """The daemon has ended, or left the bundle, in good order: this start does not count."""
        if self._is_on:
            self._is_on = False
            if self._is_tried and not self._is_slow:
                self._count(self._n_starts - 1)

    def on_level(self, level_db: float, speaking: bool) -> None:
        """A block got through."""
        if not self._is_on:
            return
        now_s = self._clock()
        if self._block_s is not None:
            self._healthy_s += min(now_s - self._block_s, _LONGEST_BLOCK_S)
        self._block_s = now_s
        if self._healthy_s >= HEALTHY_S:
            self._healthy_s = 0.0  # should it be impossible now: again after as long
            if self._loses():
                self._bear()
            else:
                self._pass()

    def on_score(self, score: Score) -> None:
        """Of no interest."""

    def on_event(self, event: Event) -> None:
        """Of no interest."""

    def on_health(self, health: Health) -> None:
        """This start counts until it is certain that nothing is heard, and again from before the first block on."""
        self._n_lost = health.n_lost
        if self._n_lost_before is None:
            self._n_lost_before = health.n_lost
        if not self._is_on or health.phase is Phase.STARTING:
            return
        is_tried = health.phase is Phase.LISTENING
        if is_tried != self._is_tried:
            self._is_tried = is_tried
            self._count(self._n_starts if is_tried else self._n_starts - 1)

    def close(self) -> None:
        """The daemon ends, in good order or not: see `end`."""

    def _choose(self) -> tuple[Path, bool]:
        """The folder of the bundle to load, and whether there is no other to go back to. A start on probation counts.

        Raises:
            BundleError: the store is broken, or it is time to go back and that is impossible.
        """
        store = self._store
        self._is_on = False
        self._n_starts = store.starts
        if self._n_starts >= N_STARTS:
            self._go_back(f"did not get through {self._n_starts} starts")
        self._bundle = store.active
        folder, is_only_one = store.active_path, self._bundle is None and store.good is None
        if self._bundle != store.good:
            self._is_on = self._is_tried = True
            self._n_starts += 1
            log.info("%s is on probation: start %d of %d", folder.name, self._n_starts, N_STARTS)
            self._count(self._n_starts)
        return folder, is_only_one

    def _loses(self) -> bool:
        """Whether too much sound was lost since this was asked last."""
        n_lost = self._n_lost - (self._n_lost_before or 0)
        self._n_lost_before = self._n_lost
        if n_lost <= BEARABLE_LOSS * HEALTHY_S * SAMPLE_RATE_HZ:
            return False
        if not self._is_slow:
            log.warning(
                "%s stays on probation: %.1f s of a minute of sound were lost; is it too slow for this board?",
                self._bundle or DEFAULT_BUNDLE,
                n_lost / SAMPLE_RATE_HZ,
            )
        return True

    def _bear(self) -> None:
        """A minute with too much loss is over; the first one is what the start itself counts for."""
        if self._is_slow:
            self._n_starts += 1
        self._is_slow = True
        self._count(self._n_starts)
        if self._n_starts < N_STARTS:
            return
        try:
            if self._store.active == self._bundle:
                self._go_back("loses too much sound")
                self._is_on = False
                self._leave()
        except BundleError as error:
            self._complain(error)

    def _go_back(self, why: str) -> None:
        """Leave the active bundle.

        Raises:
            BundleError: it is impossible.
        """
        left = self._store.active or DEFAULT_BUNDLE
        bundle, faults = self._store.give_up()
        for fault in faults:
            log.error("passed over: %s", fault)
        log.error("%s %s: back to %s", left, why, bundle.id)
        self._n_starts = 0

    def _resort(self, load: Callable[[Path], _Loaded], error: BundleError) -> _Loaded:
        """Say what is wrong with the store, and load what needs none."""
        self._is_on = False
        log.error("%s", error)
        log.error("%s, which comes with tonelight, listens until that is mended", DEFAULT_BUNDLE)
        return load(default_bundle_path())

    def _count(self, n_starts: int) -> bool:
        """Whether it was possible to keep the count."""
        try:
            if self._store.active == self._bundle:  # the count of another one is not ours
                self._store.count_start(n_starts)
        except BundleError as error:
            self._complain(error)
            return False
        return True

    def _pass(self) -> None:
        try:
            if self._store.active == self._bundle:  # otherwise the next start or reload has another one
                self._store.mark_good(self._bundle)
                log.info("%s has got through its probation", self._bundle or DEFAULT_BUNDLE)
            self._is_on = False
        except BundleError as error:
            self._complain(error)

    def _complain(self, error: BundleError) -> None:
        if not self._has_complained:
            log.warning("the probation of %s cannot be noted: %s", self._bundle or DEFAULT_BUNDLE, error)
        self._has_complained = True
