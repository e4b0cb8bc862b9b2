"""``assert a == b`` on what this plugin gives, as pytest shows it."""

from __future__ import annotations

import re


def test_failed_comparison_of_two_processes_shows_the_fields_that_differ(pytester):
    pytester.makepyfile(
        """
        from tests.support import ended, process

        def test_it():
            assert process(41) == process(41, **ended(3))
        """
    )

    lines = pytester.runpytest_inprocess().outlines

    assert [line[8:].rstrip() for line in lines if re.match(r"E(\s|$)", line)] == [
        "assert train.py (pid 41) == train.py (pid 41)",
        "               left     right",
        "    ended_at   none     2024-03-09 16:00:09.000",
        "    exit_code  none     3",
        "    status     running  exited",
    ]
