"""Find the user account under which a program runs."""

from __future__ import annotations

import os
import pwd
import re
from typing import TYPE_CHECKING, NamedTuple

from pytest_tlsandbox.local.http_errors import ApiError

if TYPE_CHECKING:
    from pytest_tlsandbox.local.request_bodies import UserSpec

_IDS = range(2**32 - 1)


class Account(NamedTuple):
    """The ids, groups and environment variables of a user.

    If ``uid``, ``gid`` or ``groups`` is None, the program inherits this value from the server
    process.
    """

    uid: int | None
    gid: int | None
    groups: list[int] | None
    environment: dict[str, str]


def find_account(user: str | UserSpec | None) -> Account:
    """Return the account of a user.

    A name must exist on this machine, but a uid does not need to exist. If no group is requested,
    the program runs in the primary group of the user. A uid that does not exist has no primary
    group, so the gid is then the same number as the uid. Supplementary groups are set only if the
    server runs as root.

    Args:
        user: a name, "uid", "uid:gid" or an object; None for the user of the server.

    Raises:
        ApiError: 500 if the user does not exist.

    """
    if user is None:
        return Account(None, None, None, {})
    name, uid, gid = _parse(user) if isinstance(user, str) else (user.name, user.uid, user.gid)
    entry = _find_entry(name, uid)
    if entry is not None:
        uid = entry.pw_uid
    if uid is None or uid not in _IDS or (gid is not None and gid not in _IDS):
        described = f"{uid if name is None else name}" + ("" if gid is None else f":{gid}")
        raise ApiError(500, f"user not found: {described}")
    if gid is None:
        gid = uid if entry is None else entry.pw_gid
    groups: list[int] = [gid]
    environment = {}
    if entry is not None:
        groups = os.getgrouplist(entry.pw_name, gid)
        environment = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
    return Account(uid, gid, groups if os.geteuid() == 0 else None, environment)


def _parse(text: str) -> tuple[str | None, int | None, int | None]:
    """Parse ``name``, ``uid`` or ``uid:gid`` into a name, a uid and a gid."""
    ids = re.fullmatch(r"([0-9]{1,10})(?::([0-9]{1,10})?)?", text)
    if ids is None:
        return text, None, None
    return None, int(ids[1]), int(ids[2]) if ids[2] else None


def _find_entry(name: str | None, uid: int | None) -> pwd.struct_passwd | None:
    try:
        if name is not None:
            return pwd.getpwnam(name)
        return None if uid is None else pwd.getpwuid(uid)
    except (KeyError, ValueError, OverflowError):
        return None
