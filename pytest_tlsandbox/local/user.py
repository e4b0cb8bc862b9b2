"""Whom a program runs as, where a start names a user."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import NamedTuple

_IDS = range(2**32 - 1)


class UserNotFound(Exception):
    """There is no such user on this machine."""


@dataclass(frozen=True)
class UserSpec:
    """The ``user`` of a start: a name or a uid, and a gid (fact sheet section 4)."""

    name: str | None = None
    uid: int | None = None
    gid: int | None = None

    def __str__(self) -> str:
        user = self.uid if self.name is None else self.name
        return f"{user}" if self.gid is None else f"{user}:{self.gid}"


class Account(NamedTuple):
    """A user as the kernel knows one. ``groups`` are None where we may not set them."""

    uid: int
    gid: int
    groups: list[int] | None
    environment: dict[str, str]


def parse_user(text: str) -> UserSpec:
    """Read ``name``, ``uid`` or ``uid:gid``."""
    user, _, group = text.partition(":")
    if not _is_id(user) or (group and not _is_id(group)):
        return UserSpec(name=text)
    return UserSpec(uid=int(user), gid=int(group) if group else None)


def find_account(spec: UserSpec) -> Account:
    """Find the user: one with a name must be known here, a uid need not be. Raises UserNotFound.

    The group is the one asked for, else the user's own, else the one with the number of the user.
    """
    entry = _entry(spec)
    uid = spec.uid if entry is None else entry.pw_uid
    if uid is None or uid not in _IDS or (spec.gid is not None and spec.gid not in _IDS):
        raise UserNotFound(str(spec))
    own_gid = uid if entry is None else entry.pw_gid
    gid = own_gid if spec.gid is None else spec.gid
    groups, environment = [gid], {}
    if entry is not None:
        groups = os.getgrouplist(entry.pw_name, gid)
        environment = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
    return Account(uid, gid, groups if os.geteuid() == 0 else None, environment)


def _entry(spec: UserSpec) -> pwd.struct_passwd | None:
    try:
        if spec.name is not None:
            return pwd.getpwnam(spec.name)
        return None if spec.uid is None else pwd.getpwuid(spec.uid)
    except (KeyError, ValueError, OverflowError):
        return None


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
