"""Run the checks of the ready-made tests, and request all process lists in parallel."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import ProcessRestarted, TLSandboxError
from pytest_tlsandbox.formatting.processes import named, process_table
from pytest_tlsandbox.formatting.text import align, count
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.messages.incidents import describe, run_name, shown_row
from pytest_tlsandbox.waiting.conditions import absence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.sandbox import Sandbox
    from pytest_tlsandbox.waiting.conditions.absence import Rule

AT_ONCE = 50
"""Maximum number of lists that are requested at the same time."""
_MOST_ROWS = 10
_TARGET = "tlsandbox_target"


@dataclass(frozen=True)
class CheckResult:
    """The result of one check of one sandbox.

    Attributes:
        error: the class of the error to raise if the check found anything.
        kind: one or two words for what happened, such as "OOM-killed".
        sandbox: the name of the sandbox, for messages.
        found: the name, the row and a description of the incident for each affected process.

    """

    error: type[TLSandboxError]
    kind: str
    sandbox: str
    found: tuple[tuple[str, ProcessInfo, str], ...] = ()

    @property
    def headline(self) -> str:
        """What happened, the first affected process, and the number of other affected processes."""
        more = f" and {len(self.found) - 1} more" if len(self.found) > 1 else ""
        return f"{self.kind}: {self.found[0][0]}{more}"

    def check(self, columns: int) -> None:
        """Raise the error of this check if the check found anything.

        The table in the error message fits into ``columns`` columns.
        """
        if self.found:
            _, rows, remarks = zip(*self.found, strict=True)
            table = process_table(rows, remarks, most=_MOST_ROWS, columns=columns - 4)
            lines = [self.headline, ""]
            lines += [f"    {line}" for line in table]
            raise self.error("\n".join([*lines, f"  sandbox  {self.sandbox}"]))


def _found(rule: Rule, listed: ProcessSnapshot) -> CheckResult:
    """Check a process list for all incidents that match a rule, including old incidents."""
    history = History(lambda: listed.begun)
    history.fold(copy.copy(listed))
    incidents = [item for item in history.incidents(0) if item.kind in rule.kinds]
    found = tuple(
        (run_name(item.run), shown_row(item.run), describe(item))
        for item in incidents
        if not history.is_assumed(item.run)
    )
    return CheckResult(rule.error, rule.verdict, listed.sandbox, found)


oom_killed = partial(_found, absence.OOM)
"""Return the OOM-killed processes, including processes that were restarted afterwards."""
crashed = partial(_found, absence.CRASH)
"""Return the processes that a crash signal ended or whose supervisor gave up."""
unhealthy = partial(_found, absence.UNHEALTHY)
"""Return the managed processes whose health check is failing."""


def looping(listed: ProcessSnapshot) -> CheckResult:
    """Return the managed processes that ended after a restart and are about to be restarted again.

    A process that runs again after a restart does not count, because the list does not show when
    the restart happened.
    """
    # Some sandboxes also list earlier runs (api-notes, "Managed processes").
    newest = {row.managed.id: row for row in listed if row.managed}
    found = tuple(
        (named(row), row, f"{count(row.managed.restart_count, 'restart')}, and it is backing off")
        for row in newest.values()
        if row.managed and row.managed.status == "backing_off" and row.managed.restart_count
    )
    return CheckResult(ProcessRestarted, "Restart loop", listed.sandbox, found)


class Listings:
    """The process lists of all sandboxes under test.

    When the method ``of`` is called for the first time, it requests all lists in parallel. Later
    calls return the stored lists.

    This class is also a pytest plugin. If there are several sandboxes, the plugin prints a row for
    each sandbox at the end of the session.

    Args:
        items: the tests; their parameters name the sandboxes.
        connect: a function that connects to a sandbox.

    """

    def __init__(self, items: Sequence[pytest.Item], connect: Callable[[object], Sandbox]) -> None:
        self._connect = connect
        params = [getattr(getattr(item, "callspec", None), "params", {}) for item in items]
        self._targets = [given[_TARGET] for given in params if _TARGET in given]
        self._answers: dict[object, ProcessSnapshot | TLSandboxError] = {}

    def of(self, target: object) -> ProcessSnapshot | TLSandboxError:
        """Return the process list of a sandbox, or an error if the processes could not be listed."""
        if target not in self._answers:
            from concurrent.futures import ThreadPoolExecutor

            # Connect to one sandbox after another, because this may call a conftest's hook for the
            # key.
            made = {one: self._made(one) for one in dict.fromkeys([target, *self._targets])}
            with ThreadPoolExecutor(AT_ONCE) as pool:
                self._answers.update(zip(made, pool.map(_ask, made.values()), strict=True))
        return self._answers[target]

    def _made(self, target: object) -> Sandbox | TLSandboxError:
        try:
            return self._connect(target)
        except TLSandboxError as error:
            return error

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print a row for each sandbox if there are several sandboxes."""
        if len(self._answers) > 1:
            terminalreporter.section("sandboxes")
            for line in align(_row(str(target), said) for target, said in self._answers.items()):
                terminalreporter.line(line)


def _ask(made: Sandbox | TLSandboxError) -> ProcessSnapshot | TLSandboxError:
    if isinstance(made, TLSandboxError):
        return made
    try:
        return made.list_processes()
    except TLSandboxError as error:
        return error


def _row(target: str, answer: ProcessSnapshot | TLSandboxError) -> tuple[str, str, str]:
    if isinstance(answer, TLSandboxError):
        return target, "not checked", answer.first_line
    found = [check(answer) for check in (oom_killed, crashed, looping, unhealthy)]
    told = [finding.headline for finding in found if finding.found]
    if answer.unreadable:
        told.append(f"{count(len(answer.unreadable), 'row')} not readable")
    return target, "not well" if told else "well", "; ".join(told) or _extent(answer)


def _extent(answer: ProcessSnapshot) -> str:
    return f"{count(len(answer), 'process')}, {len(answer.alive)} alive"
