"""Fakes for testing your own helpers.

A ``ScriptedLister`` returns the process lists that a script defines. The function ``row`` creates a
row for the script. The lister uses a ``FakeClock``, so that waits take no time. The context manager
``no_sleep`` makes waits skip their pauses.
"""

from pytest_tlsandbox.testing.clock import FakeClock, no_sleep
from pytest_tlsandbox.testing.scripted_lister import ScriptedLister, row

__all__ = ["FakeClock", "ScriptedLister", "no_sleep", "row"]
