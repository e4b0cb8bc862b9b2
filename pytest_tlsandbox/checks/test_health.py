"""Six tests that check one snapshot of each sandbox given with ``--tlsandbox``.

The tests have no baseline. They therefore check every incident in the process list, including old
incidents. The first test requests the process lists of all sandboxes in parallel.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from pytest_tlsandbox.errors import Inconclusive, ProcessRestarted, TLSandboxError
from pytest_tlsandbox.formatting.processes import named, process_table
from pytest_tlsandbox.formatting.text import align, count
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.integration.pytest_private import TARGET
from pytest_tlsandbox.integration.terminal import columns_of
from pytest_tlsandbox.messages.incidents import describe, run_name, shown_row
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.waiting.conditions import absence
from pytest_tlsandbox.waiting.conditions.absence import Rule

_AT_ONCE = 50
"""Maximum number of lists that are requested at the same time."""
_MOST_ROWS = 10
Connect = Callable[[object], Sandbox]
Found = Sequence[tuple[str, ProcessInfo, str]]
T = TypeVar("T")


def __tracebackhide__(raised: pytest.ExceptionInfo[BaseException]) -> bool:  # noqa: N807 - pytest's name
    """Hide the source of a check, because the message says what the check found."""
    return raised.errisinstance(TLSandboxError)


@pytest.fixture(scope="session")
def listings(request: pytest.FixtureRequest, tlsandbox_connect: Connect) -> Listings:
    """Provide the process lists of all sandboxes under test.

    All lists are requested in parallel when ``listings.of`` is called for the first time.

    Returns:
        The process lists.

    """
    asked = Listings(request.session, tlsandbox_connect)
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


def test_no_oom(listed: ProcessSnapshot, pytestconfig: pytest.Config) -> None:
    """Check that no process was OOM-killed, including processes that were restarted afterwards."""
    _check_rule(absence.OOM, listed, pytestconfig)


def test_no_crash(listed: ProcessSnapshot, pytestconfig: pytest.Config) -> None:
    """Check that no crash signal ended a listed process, and that no supervisor gave up."""
    _check_rule(absence.CRASH, listed, pytestconfig)


def test_no_restart_loop(listed: ProcessSnapshot, pytestconfig: pytest.Config) -> None:
    """Check that no managed process is in a restart loop.

    A process is in a restart loop if it was restarted, has ended again, and waits for the next
    restart. If a restarted process is running, the check passes, because the list does not show
    when the restart happened.
    """
    # Some sandboxes also list earlier runs (api-notes, "Managed processes").
    newest = {row.managed.id: row for row in listed if row.managed}
    found = [
        (named(row), row, f"{count(row.managed.restart_count, 'restart')}, and it is backing off")
        for row in newest.values()
        if row.managed and row.managed.status == "backing_off" and row.managed.restart_count
    ]
    _fail_for(found, ProcessRestarted, "Restart loop", listed.sandbox, pytestconfig)


def test_healthy(listed: ProcessSnapshot, pytestconfig: pytest.Config) -> None:
    """Check that no health check of a managed process is failing."""
    _check_rule(absence.UNHEALTHY, listed, pytestconfig)


def test_everything_readable(listed: ProcessSnapshot) -> None:
    """Check that every row follows the API, because an unreadable row may hide an incident."""
    if listed.unreadable:
        rows = "\n".join(f"  {row}" for row in listed.unreadable[:_MOST_ROWS])
        unreadable = count(len(listed.unreadable), "row")
        raise Inconclusive(f"{unreadable} of the process list cannot be read\n\n{rows}")


def _check_rule(rule: Rule, listed: ProcessSnapshot, config: pytest.Config) -> None:
    """Check a process list for all incidents that match a rule, including old incidents."""
    history = History(lambda: listed.begun)
    history.fold(copy.copy(listed))
    found = [
        (run_name(item.run), shown_row(item.run), describe(item))
        for item in history.incidents(0)
        if item.kind in rule.kinds and not item.run.assumed
    ]
    _fail_for(found, rule.error, rule.verdict, listed.sandbox, config)


def _fail_for(
    found: Found, error: type[TLSandboxError], kind: str, sandbox: str, config: pytest.Config
) -> None:
    """Raise an error if a check found anything.

    Args:
        found: the name, the row and a description of the incident for each affected process.
        error: the class of the error.
        kind: one or two words for what happened, such as "OOM-killed".
        sandbox: the name of the sandbox.
        config: the configuration of pytest, which determines the width of the message.

    """
    if found:
        names, rows, remarks = zip(*found, strict=True)
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        table = process_table(rows, remarks, most=_MOST_ROWS, columns=columns_of(config) - 4)
        lines = [f"{kind}: {names[0]}{more}", "", *(f"    {line}" for line in table)]
        raise error("\n".join([*lines, f"  sandbox  {sandbox}"]))


class Listings:
    """The process lists of all sandboxes under test.

    When the method ``of`` is called for the first time, it requests all lists in parallel. Later
    calls return the stored lists.

    This class is also a pytest plugin. If there are several sandboxes, the plugin prints a row for
    each sandbox at the end of the session.

    Args:
        session: the session; the parameters of its tests name the sandboxes.
        connect: a function that connects to a sandbox.

    """

    def __init__(self, session: pytest.Session, connect: Connect) -> None:
        self._config, self._connect = session.config, connect
        params = [getattr(getattr(item, "callspec", None), "params", {}) for item in session.items]
        self._targets = [given[TARGET] for given in params if TARGET in given]
        self._answers: dict[object, ProcessSnapshot | TLSandboxError] = {}

    def of(self, target: object) -> ProcessSnapshot | TLSandboxError:
        """Return the process list of a sandbox, or an error if the processes could not be listed."""
        if target not in self._answers:
            # Connect to one sandbox after another, because this may call a conftest's hook for the
            # key.
            targets = dict.fromkeys([target, *self._targets])
            made = {one: _result_of(self._connect, one) for one in targets}
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                self._answers.update(zip(made, pool.map(_ask, made.values()), strict=True))
        return self._answers[target]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print a row for each sandbox if there are several sandboxes."""
        if len(self._answers) > 1:
            terminalreporter.section("sandboxes")
            for line in align(self._row(str(target), of) for target, of in self._answers.items()):
                terminalreporter.line(line)

    def _row(self, target: str, answer: ProcessSnapshot | TLSandboxError) -> tuple[str, str, str]:
        if isinstance(answer, TLSandboxError):
            return target, "not checked", answer.first_line
        checks = (test_no_oom, test_no_crash, test_no_restart_loop, test_healthy)
        failures = [_result_of(check, answer, self._config) for check in checks]
        told = [failure.first_line for failure in failures if failure is not None]
        if answer.unreadable:
            told.append(f"{count(len(answer.unreadable), 'row')} not readable")
        extent = f"{count(len(answer), 'process')}, {len(answer.alive)} alive"
        return target, "not well" if told else "well", "; ".join(told) or extent


def _ask(made: Sandbox | TLSandboxError) -> ProcessSnapshot | TLSandboxError:
    return made if isinstance(made, TLSandboxError) else _result_of(made.list_processes)


def _result_of(call: Callable[..., T], *args: object) -> T | TLSandboxError:
    try:
        return call(*args)
    except TLSandboxError as error:
        return error
