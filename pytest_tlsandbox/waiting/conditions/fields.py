"""The condition of ``assert_process``: the fields of a process have the expected values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import AssertionFailed
from pytest_tlsandbox.formatting.processes import headline_of_end
from pytest_tlsandbox.formatting.text import count, cut, shown, shown_wanted
from pytest_tlsandbox.history.incidents import CRASH, OOM
from pytest_tlsandbox.history.snapshot import differences
from pytest_tlsandbox.messages.explanation import Field
from pytest_tlsandbox.redact import mask_args
from pytest_tlsandbox.waiting.conditions.condition import CORRECTION_TIME, Impossible, Result
from pytest_tlsandbox.waiting.conditions.process_condition import ProcessCondition

if TYPE_CHECKING:
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.waiting.selectors import Selection

_CHANGING = frozenset(
    {"ended_at", "exit_code", "managed", "oom_killed", "signal", "status", "stdin_writable"}
)
"""The fields that can change while the process is alive."""
_LONGEST_VALUE = 30
"""Maximum width, in columns, of a value in the first line of a message."""


@dataclass(eq=False, repr=False)
class HasFields(ProcessCondition):
    """A condition that is met if every field has the expected value. The condition never waits."""

    expected: dict[str, object]
    waits = False

    def __post_init__(self) -> None:
        names = self.expected.keys()
        self.wanted = " and ".join(
            f"{name}={shown_wanted(value, name)}" for name, value in self.expected.items()
        )
        expects_an_end = self.expected.get("status", "running") != "running"
        self.wants_an_end = expects_an_end or bool({"exit_code", "signal"} & names)

    def fits(self, row: ProcessInfo) -> bool:
        return not differences(row, self.expected)

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        fields: list[Field] = []
        for name, was in differences(row, self.expected).items():
            wanted = self.expected[name]
            if name == "args" and isinstance(wanted, (list, tuple)):
                fields += _arguments(mask_args([*map(str, wanted)]), mask_args(row.args))
            else:
                fields.append(Field(name, shown_wanted(wanted, name), shown(was)))
        return tuple(fields)

    def declare(self, row: ProcessInfo) -> None:
        run, expected = self._run_of(row), self.expected
        if run is None:
            return
        if expected.get("status") == "oom_killed" or expected.get("oom_killed"):
            run.declared |= {OOM}
        if row.signal is not None and expected.get("signal") == row.signal:
            run.declared |= {CRASH}

    def alive(self, row: ProcessInfo) -> Result:
        if self._is_lost(row):
            return Impossible(self._explain_end(row), CORRECTION_TIME, row.identity)
        hint = "use by(...) or longer text to select another process" * bool(self.selector.text)
        if differences(row, self.expected).keys() <= _CHANGING:
            hint = "use wait_for_process() or wait_for_exit(), which wait for a change"
        return self._mismatch(row, hint)

    def ended(self, row: ProcessInfo, selection: Selection) -> Result:
        if self._correction_time(row):
            return super().ended(row, selection)
        return self._mismatch(row, self._hint_after(row))

    def _mismatch(self, row: ProcessInfo, hint: str) -> Impossible:
        names = differences(row, self.expected).keys()
        wrong = self.fields(row)
        ended = row.ended and names <= _CHANGING
        if names == {"exit_code"} and row.state == "exited":
            what, wanted = headline_of_end(row), wrong[0].wanted
        elif len(wrong) > 1 and ended:
            what, wanted = headline_of_end(row), cut(self.wanted, _LONGEST_VALUE)
        else:
            what = f"{wrong[0].name} was {cut(wrong[0].was, _LONGEST_VALUE)}"
            wanted = cut(wrong[0].wanted, _LONGEST_VALUE)
            more = len(wrong) - 1
            wanted += f" ({count(more, 'more field')} differ{'s' * (more == 1)})" if more else ""
        explanation = self._explain(AssertionFailed, what, row, hint, wanted=wanted)
        return Impossible(replace(explanation, output=ended))


def _arguments(wanted: list[str], was: list[str]) -> list[Field]:
    """Return a ``Field`` for each argument that differs from the expected argument.

    The label of each ``Field`` contains the position of its argument.
    """
    pairs = zip_longest(wanted, was, fillvalue="(absent)")
    differing = [(at, one, other) for at, (one, other) in enumerate(pairs) if one != other]
    if not differing:
        return [Field("args", "another secret", "a secret")]
    return [Field(f"args[{at}]", one, other) for at, one, other in differing]
