"""``assert a == b`` on what this plugin gives, as pytest shows it."""

from __future__ import annotations

import re
from textwrap import dedent

import pytest

ROW = """
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot

    def row(pid, **fields):
        return ProcessInfo(
            **{"pid": pid, "handle": pid, "command": "python", "args": ["train.py", "--token=abc"],
             "status": "running", "started_at": "2024-03-09T16:00:00Z", **fields}
        )
"""


def outcome(pytester: pytest.Pytester, test: str, *options: str) -> str:
    """Run a test that fails; give the message, indented as pytest shows it."""
    pytester.makepyfile(dedent(ROW) + dedent(test))
    lines = pytester.runpytest_inprocess(*options).outlines
    return "\n".join(line[8:].rstrip() for line in lines if re.match(r"E(\s|$)", line))


def test_failed_comparison_of_two_processes_shows_the_fields_that_differ(pytester):
    message = outcome(
        pytester,
        """
        def test_it():
            assert row(41) == row(41, status="exited", exit_code=3)
        """,
    )

    assert message == (
        "assert train.py (pid 41) == train.py (pid 41)\n"
        "               left     right\n"
        "    exit_code  none     3\n"
        "    status     running  exited"
    )


def test_pytest_explains_a_failed_inequality_assertion_without_showing_secrets(pytester):
    message = outcome(
        pytester,
        """
        def test_it():
            assert row(41) != row(41)
        """,
    )

    assert message == (
        "assert <ProcessInfo pid 41 running: python train.py --token=***> != "
        "<ProcessInfo pid 41 running: python train.py --token=***>\n"
        " +  where <ProcessInfo pid 41 running: python train.py --token=***> = row(41)\n"
        " +  and   <ProcessInfo pid 41 running: python train.py --token=***> = row(41)"
    )
