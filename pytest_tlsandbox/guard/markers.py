"""Read and check the markers ``tlsandbox_guard`` and ``tlsandbox_allow``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from pytest_tlsandbox.errors import InvalidSetting
from pytest_tlsandbox.integration.pytest_private import TARGET, overrides_target
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.setting_parsers import HOW_TO_NAME_A_SANDBOX, parse_rules
from pytest_tlsandbox.settings import ALLOW_MARKER, GUARD_MARKER, Settings


def check_markers(session: pytest.Session, settings: Settings) -> bool:
    """Check the markers of all tests.

    Returns:
        Whether any test is guarded.

    Raises:
        InvalidSetting: a marker is invalid, or a test is guarded but no sandbox was given.

    """
    rules = [rules_of(item, settings.guard) for item in session.items]
    for item in session.items:
        allowances_of(item)
    if any(rules) and not settings.targets and not any(map(_brings_its_sandbox, session.items)):
        raise InvalidSetting(f"no sandbox to guard; {HOW_TO_NAME_A_SANDBOX}")
    return any(rules)


def rules_of(item: pytest.Item, of_session: Sequence[str]) -> tuple[str, ...]:
    """Return the rules that apply to a test.

    The closest ``tlsandbox_guard`` marker of the test sets the rules. If the test has no such
    marker, the rules of the session apply.

    Raises:
        InvalidSetting: the marker has an unknown rule or an unexpected argument.

    """
    mark = item.get_closest_marker(GUARD_MARKER)
    if mark is None:
        return tuple(of_session)
    where = f"{item.nodeid}: {GUARD_MARKER}"
    if mark.kwargs:
        raise InvalidSetting(
            f"{where}: expected only rules, as in {GUARD_MARKER}('oom'), got "
            f"{next(iter(mark.kwargs))!r}"
        )
    return parse_rules(mark.args, where) if mark.args else ()


def allowances_of(item: pytest.Item) -> dict[str, str]:
    """Return the rules that the markers of a test allow, and a reason for each rule.

    If several markers allow the same rule, the reason comes from the closest marker.

    Raises:
        InvalidSetting: a marker has an unknown rule or argument, or has no rules or no reason.

    """
    allowed: dict[str, str] = {}
    for mark in item.iter_markers(ALLOW_MARKER):
        where = f"{item.nodeid}: {ALLOW_MARKER}"
        unknown = [name for name in mark.kwargs if name != "reason"]
        if unknown:
            raise InvalidSetting(f"{where}: expected rules and a reason, got {unknown[0]!r}")
        rules, reason = check_allowance(mark.args, mark.kwargs.get("reason"), where)
        allowed = {**dict.fromkeys(rules, reason), **allowed}
    return allowed


def check_allowance(
    rules: Iterable[object], reason: object, where: str = ALLOW_MARKER
) -> tuple[tuple[str, ...], str]:
    """Check a list of allowed rules, and the reason for allowing them.

    Returns:
        The rules, and the reason as a single line in which secrets are masked.

    Raises:
        InvalidSetting: a rule is unknown, or the rules or the reason are missing.

    """
    parsed = parse_rules(rules, where)
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidSetting(
            f'{where}: expected a reason, as in {ALLOW_MARKER}("{parsed[0]}", reason="..."), got none'
        )
    return parsed, mask_text(" ".join(reason.split()))


def _brings_its_sandbox(item: pytest.Item) -> bool:
    """Return whether a test may provide its own sandbox for the plugin to monitor."""
    parameters = getattr(getattr(item, "callspec", None), "params", ())
    names = {"tlsandbox_connect", "tlsandbox_local"}.intersection(getattr(item, "fixturenames", ()))
    return bool(names) or TARGET in parameters or overrides_target(item)
