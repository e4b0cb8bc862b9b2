"""What a test says of the guard: its markers and its ``with`` blocks, read and checked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import InvalidArgument, InvalidSetting
from pytest_tlsandbox.integration.pytest_private import defining_module
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.setting_values import parse_rules
from pytest_tlsandbox.settings import ALLOW_MARKER, GUARD_MARKER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pytest

    from pytest_tlsandbox.guard.engine import Guard
    from pytest_tlsandbox.settings import Settings

_TARGET = "tlsandbox_target"
_OUR_PLUGIN = "pytest_tlsandbox.plugin"


def check_marks(session: pytest.Session, settings: Settings) -> bool:
    """Tell whether any test is guarded, once all that is said of it has been checked.

    Raises:
        InvalidSetting: a marker means nothing, or there is no sandbox to guard.

    """
    guarded = []
    for item in session.items:
        allowances_of(item)
        if rules_of(item, settings.guard):
            guarded.append(item)
    if guarded and not settings.targets and not any(map(_has_its_own, session.items)):
        raise InvalidSetting(
            "no sandbox to guard: give --tlsandbox local for the embedded one, --tlsandbox ID for "
            "a real one, or set tlsandbox in the ini file or TLSANDBOX in the environment"
        )
    return bool(guarded)


def rules_of(item: pytest.Item, otherwise: Sequence[str]) -> tuple[str, ...]:
    """Give the rules a test is judged by: those of its closest marker, else those of the session."""
    mark = item.get_closest_marker(GUARD_MARKER)
    if mark is None:
        return tuple(otherwise)
    where = f"{item.nodeid}: {GUARD_MARKER}"
    if mark.kwargs:
        raise InvalidSetting(
            f"{where}: expected rules only, as in {GUARD_MARKER}('oom'), got "
            f"{next(iter(mark.kwargs))!r}"
        )
    return parse_rules(mark.args, where) if mark.args else ()


def allowances_of(item: pytest.Item) -> dict[str, str]:
    """Give what the markers of a test allow: rules, with the reason; the closest one speaks."""
    allowed: dict[str, str] = {}
    for mark in item.iter_markers(ALLOW_MARKER):
        where = f"{item.nodeid}: {ALLOW_MARKER}"
        unknown = [name for name in mark.kwargs if name != "reason"]
        if unknown:
            raise InvalidSetting(f"{where}: expected rules and a reason, got {unknown[0]!r}")
        rules, reason = _checked(mark.args, mark.kwargs.get("reason"), where)
        for rule in rules:
            allowed.setdefault(rule, reason)
    return allowed


def allowing(
    guard: Guard | None, *rules: str, reason: str = ""
) -> contextlib.AbstractContextManager[None]:
    """Give what allows what happens within it; it does nothing where there is no guard.

    Raises:
        InvalidArgument: a rule that is none, no rule, or no reason.

    """
    try:
        checked, why = _checked(rules, reason, ALLOW_MARKER)
    except InvalidSetting as error:
        raise InvalidArgument(str(error)) from None
    return contextlib.nullcontext() if guard is None else guard.allowing(checked, why)


def overrides_target(item: pytest.Item) -> bool:
    """Tell whether a suite names, for this test, a sandbox of its own."""
    return defining_module(item, _TARGET) not in (None, _OUR_PLUGIN)


def _has_its_own(item: pytest.Item) -> bool:
    """Tell whether a test may bring its own sandbox: the guard learns of it when it does."""
    parameters = getattr(getattr(item, "callspec", None), "params", ())
    names = {"tlsandbox_connect", "tlsandbox_local"}.intersection(getattr(item, "fixturenames", ()))
    return bool(names) or _TARGET in parameters or overrides_target(item)


def _checked(rules: Iterable[object], reason: object, where: str) -> tuple[tuple[str, ...], str]:
    parsed = parse_rules(rules, where)
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidSetting(
            f'{where}: expected a reason, as in {ALLOW_MARKER}("{parsed[0]}", reason="..."), got none'
        )
    return parsed, mask_text(" ".join(reason.split()))
