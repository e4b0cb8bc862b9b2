"""Test doubles for tests of your own helpers.

A ``ScriptedLister`` lists the rows of a script; the function ``row`` creates a row. It uses a
``FakeClock``, on which waits take no time. ``no_sleep`` makes waits skip their pauses.
"""

from pytest_tlsandbox.testing.clock import FakeClock, no_sleep
from pytest_tlsandbox.testing.scripted_lister import ScriptedLister, row

__all__ = ["FakeClock", "ScriptedLister", "no_sleep", "row"]
