"""Whose state it is that a command works on.

On a board it belongs to the service, which root looks after with `sudo tonelight`. Whoever has taken the service over
may have put links there that lead anywhere, so root must not use its own hand in that folder: it becomes the folder's
owner first, and can do no more there than the service could.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge import config
from edge.errors import TonelightError


@contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """Within this, root is whoever `folder` belongs to; where it does not exist yet, the nearest one above it.

    What is made there is the owner's, too. Anybody else stays who they are. Ask `config` for folders, and import what
    is imported late, before: the former tells those of whoever it is just then, the latter may be root's alone.

    Raises:
        TonelightError: root may not become that user here.
    """
    if os.getuid() != 0:
        yield
        return
    with as_caller():
        owner = next(path for path in (folder, *folder.absolute().parents) if path.exists()).stat()
    with _as_user(owner.st_uid, owner.st_gid, folder):
        yield


@contextmanager
def as_caller() -> Iterator[None]:
    """Within `as_owner_of`, be root again where it was root who called: for what only the caller may read or write."""
    if os.getuid() != 0:
        yield
        return
    with _as_user(0, os.getgid(), Path("/")):
        yield


@contextmanager
def _as_user(uid: int, gid: int, folder: Path) -> Iterator[None]:
    before = os.geteuid(), os.getegid(), os.getgroups()
    if uid == before[0]:
        yield
        return
    try:
        _become(uid, gid, [])  # the service's other groups are for its devices
    except OSError as error:
        _become(*before)
        raise TonelightError(
            f"{folder} belongs to user {uid}, and root cannot become that user here: {error.strerror}; "
            "run this as that user"
        ) from None
    try:
        yield
    finally:
        _become(*before)


def _become(uid: int, gid: int, groups: list[int]) -> None:
    os.seteuid(0)  # nobody else may change the groups
    if groups != os.getgroups():
        os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)


def refuse_for_the_service(command: str, what: str, own: Path | None = None) -> None:
    """What this user's own state says would look like the service's. Whoever names a state folder means that one.

    `what` the service has of its own `sudo tonelight COMMAND` works on; `own` is this user's, which may not exist.

    Raises:
        TonelightError: a service is installed here, and this user is not root.
    """
    if os.geteuid() == 0 or os.environ.get("STATE_DIRECTORY") or not os.path.lexists(config.SYSTEM_STATE):
        return
    yours = ""
    if own is not None and own.exists():
        yours = f"; for yours: STATE_DIRECTORY={shlex.quote(str(config.state_dir()))} tonelight {command}"
    raise TonelightError(f"the service on this board has {what} of its own: sudo tonelight {command}{yours}")
