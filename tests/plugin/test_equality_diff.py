"""``assert a == b`` on what this plugin provides, as pytest shows it."""

from __future__ import annotations

import pytest

from tests.support import dedented, ended, process


def test_failed_comparison_of_two_processes_shows_the_fields_that_differ():
    with pytest.raises(AssertionError) as error:
        assert process(41) == process(41, **ended(3))

    assert str(error.value) == dedented(
        """
        assert train.py (pid 41) == train.py (pid 41)
                       left     right
            ended_at   none     2024-03-09 16:00:09.000
            exit_code  none     3
            status     running  exited
        """
    )
