"""Night hours: from one time of day to another the light is dimmer, or dark."""

from __future__ import annotations

import re
from datetime import datetime, time
from typing import Annotated

import msgspec
from msgspec import Meta


class Night(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hours in which the light is dimmer."""

    from_: Annotated[
        str, Meta(description='when the night begins, local time, as "22:00"; empty = there is no night')
    ] = msgspec.field(default="", name="from")
    to: Annotated[str, Meta(description='when the night ends, as "07:00"; empty = there is no night')] = ""
    brightness: Annotated[
        float, Meta(ge=0, le=1, description="at most so bright at night; 0 = dark, a fault and muting included")
    ] = 0.1

    def __post_init__(self) -> None:
        """Raises:
        ValueError: a time is not written "22:00", only one of the two is there, or they are the same.
        """
        for key, text in (("from", self.from_), ("to", self.to)):
            if text and not _is_time(text):
                raise ValueError(f'{key} = "{text}": expected a time of day from "00:00" to "23:59"')
        if bool(self.from_) != bool(self.to):
            missing = "to" if self.from_ else "from"
            raise ValueError(f'{missing} = "": a night needs both from and to, as "22:00" and "07:00"')
        if self.from_ and self.from_ == self.to:
            raise ValueError(
                f'to = "{self.to}": the night would end when it begins; leds.brightness dims the light all day'
            )

    def covers(self, moment: time) -> bool:
        """Whether `moment`, local time of day, is in the night."""
        if not self.from_:
            return False
        now = moment.isoformat("minutes")  # as the two are written: their order is that of time
        if self.from_ < self.to:
            return self.from_ <= now < self.to
        return now >= self.from_ or now < self.to


def local_time() -> time:
    """The time of day here, daylight saving included."""
    return datetime.now().time()


def _is_time(text: str) -> bool:
    return re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]", text) is not None
