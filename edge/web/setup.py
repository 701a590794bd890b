"""What the daemon tells the page's process when it starts it."""

from __future__ import annotations

import msgspec


class Setup(msgspec.Struct, frozen=True):
    """Everything the page's process needs to know. It comes through a pipe: arguments can be read by everybody."""

    node: str
    version: str
    token: str
    """What a browser must know; empty where the page needs none."""
    history: str
    """File of the log; empty where none is kept."""
    mute: str
    """File of the mute switch."""
    capture: str
    """File of the switch that has clips kept."""
    clips: str
    """Folder of the clips."""
    bundle: str
    """Folder of the bundle that recordings are analysed with; empty for the one that is active by then."""
    colours: dict[str, str]
    """The light's colour of each emotion, "#rrggbb"."""
    activation_colours: list[str]
    """The light's scale of the activation, from 0 to 1 in equal steps."""
