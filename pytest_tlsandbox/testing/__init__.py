"""For tests of your own helpers: what stands in for a sandbox.

``ScriptedLister`` lists what a script of ``row``s says, on a ``FakeClock`` that takes no time;
``record`` keeps what a real sandbox answered and ``replay`` answers so again; ``no_sleep`` has waits
skip their pauses.
"""

from pytest_tlsandbox.testing.clock import FakeClock, no_sleep
from pytest_tlsandbox.testing.listings import ScriptedLister, row
from pytest_tlsandbox.testing.recording import record, replay

__all__ = ["FakeClock", "ScriptedLister", "no_sleep", "record", "replay", "row"]
