"""Test doubles for tests of your own helpers.

``ScriptedLister`` lists the rows of a script (``row`` creates one), with a ``FakeClock`` on which waits
take no time. ``no_sleep`` makes waits skip their pauses.
"""

from pytest_tlsandbox.testing.clock import FakeClock, no_sleep
from pytest_tlsandbox.testing.scripted_lister import ScriptedLister, row

__all__ = ["FakeClock", "ScriptedLister", "no_sleep", "row"]
