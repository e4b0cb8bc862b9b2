"""``assert a == b`` on what this plugin provides, as pytest shows it."""

from __future__ import annotations

import pytest

from tests.support import ended, process


def test_failed_comparison_of_two_processes_shows_the_fields_that_differ():
    with pytest.raises(AssertionError) as error:
        assert process(41) == process(41, **ended(3))

    title, *table = str(error.value).splitlines()
    assert title == "assert train.py (pid 41) == train.py (pid 41)"
    assert "    exit_code  none     3" in table
