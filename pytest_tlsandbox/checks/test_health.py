"""Six tests that check one snapshot of each sandbox given with ``--tlsandbox``.

The tests have no baseline. They therefore check every incident in the process list, including old
incidents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tlsandbox.checks import sandbox_checks
from pytest_tlsandbox.checks.sandbox_checks import Listings
from pytest_tlsandbox.errors import Inconclusive, TLSandboxError
from pytest_tlsandbox.formatting.text import count
from pytest_tlsandbox.integration.terminal import columns_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.sandbox import Sandbox


def __tracebackhide__(raised: pytest.ExceptionInfo[BaseException]) -> bool:  # noqa: N807 - pytest's name
    """Hide the source of a check, because the message says what the check found."""
    return raised.errisinstance(TLSandboxError)


@pytest.fixture(scope="session")
def columns(request: pytest.FixtureRequest) -> int:
    """Provide the width of messages, in columns."""
    return columns_of(request.config)


@pytest.fixture(scope="session")
def listings(
    request: pytest.FixtureRequest, tlsandbox_connect: Callable[[object], Sandbox]
) -> Listings:
    """Provide the process lists of all sandboxes under test.

    All lists are requested in parallel when ``listings.of`` is called for the first time.

    Returns:
        The process lists.

    """
    asked = Listings(request.session.items, tlsandbox_connect)
    if not hasattr(request.config, "workerinput"):
        request.config.pluginmanager.register(asked, "tlsandbox-checks")
    return asked


@pytest.fixture
def listed(listings: Listings, tlsandbox_target: object) -> ProcessSnapshot:
    """Provide the snapshot of the sandbox, or skip the test if the sandbox is not reachable."""
    answer = listings.of(tlsandbox_target)
    if isinstance(answer, TLSandboxError):
        pytest.skip(f"not checked: {answer.first_line}")
    return answer


def test_reachable(listings: Listings, tlsandbox_target: object) -> None:
    """Check that the sandbox answers."""
    answer = listings.of(tlsandbox_target)
    if isinstance(answer, TLSandboxError):
        raise answer


def test_no_oom(listed: ProcessSnapshot, columns: int) -> None:
    """Check that no listed process was OOM-killed."""
    sandbox_checks.check_no_oom(listed, columns)


def test_no_crash(listed: ProcessSnapshot, columns: int) -> None:
    """Check that no crash signal ended a listed process, and that no supervisor gave up."""
    sandbox_checks.check_no_crash(listed, columns)


def test_no_restart_loop(listed: ProcessSnapshot, columns: int) -> None:
    """Check that no process is in a restart loop.

    A process is in a restart loop if it was restarted, has ended again, and waits for a restart.
    """
    sandbox_checks.check_no_restart_loop(listed, columns)


def test_healthy(listed: ProcessSnapshot, columns: int) -> None:
    """Check that no health check is failing."""
    sandbox_checks.check_healthy(listed, columns)


def test_everything_readable(listed: ProcessSnapshot) -> None:
    """Check that every row follows the API, because an unreadable row may hide an incident."""
    if listed.unreadable:
        rows = "\n".join(f"  {row}" for row in listed.unreadable[:10])
        raise Inconclusive(
            f"{count(len(listed.unreadable), 'row')} of the process list cannot be read\n\n{rows}"
        )
