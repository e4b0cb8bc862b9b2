"""Is a sandbox well? Six tests of each that is given with ``--tlsandbox``, on one look at it.

There is no test before, so that all that is listed counts, however old it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tlsandbox.checks.sandbox_checks import Listings, crashed, looping, oom_killed, unhealthy
from pytest_tlsandbox.errors import Inconclusive, TLSandboxError
from pytest_tlsandbox.integration.terminal import columns_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.sandbox import Sandbox


def __tracebackhide__(raised: pytest.ExceptionInfo[BaseException]) -> bool:  # noqa: N807 - pytest's name
    """Hide the source of a check: what it has found, its message says."""
    return raised.errisinstance(TLSandboxError)


@pytest.fixture(scope="session")
def columns(request: pytest.FixtureRequest) -> int:
    """Return how wide a message may be."""
    return columns_of(request.config)


@pytest.fixture(scope="session")
def listings(
    request: pytest.FixtureRequest, tlsandbox_connect: Callable[[object], Sandbox]
) -> Listings:
    """Return what all sandboxes under test list, asked side by side when the first is wanted."""
    asked = Listings(request.session.items, tlsandbox_connect)
    if not hasattr(request.config, "workerinput"):
        request.config.pluginmanager.register(asked, "tlsandbox-checks")
    return asked


@pytest.fixture
def listed(listings: Listings, tlsandbox_target: object) -> ProcessSnapshot:
    """Return what the sandbox under test lists; that it cannot be reached is one test's to tell."""
    answer = listings.of(tlsandbox_target)
    if isinstance(answer, TLSandboxError):
        pytest.skip(f"not checked: {answer.first_line}")
    return answer


def test_reachable(listings: Listings, tlsandbox_target: object) -> None:
    """It answers."""
    answer = listings.of(tlsandbox_target)
    if isinstance(answer, TLSandboxError):
        raise answer


def test_no_oom(listed: ProcessSnapshot, columns: int) -> None:
    """Nothing it lists was killed for want of memory."""
    oom_killed(listed).check(columns)


def test_no_crash(listed: ProcessSnapshot, columns: int) -> None:
    """Nothing it lists died of a crash signal, and no supervisor has given up."""
    crashed(listed).check(columns)


def test_no_restart_loop(listed: ProcessSnapshot, columns: int) -> None:
    """No supervisor waits to start again what has ended once more."""
    looping(listed).check(columns)


def test_healthy(listed: ProcessSnapshot, columns: int) -> None:
    """No health check fails."""
    unhealthy(listed).check(columns)


def test_everything_readable(listed: ProcessSnapshot) -> None:
    """Every row is what the API promises, so that nothing hides in one that is not."""
    if listed.unreadable:
        rows = "\n".join(f"  {row}" for row in listed.unreadable[:10])
        raise Inconclusive(f"Not readable: {len(listed.unreadable)} of the rows\n\n{rows}")
