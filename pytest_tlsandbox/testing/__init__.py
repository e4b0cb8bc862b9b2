"""For tests of tests: what stands in for a sandbox, and between a suite and its sandbox on a bad day.

``ScriptedLister`` lists what a script of ``row``s says, on a ``FakeClock`` that takes no time;
``record`` keeps what a real sandbox answered and ``replay`` answers so again; ``no_sleep`` has waits
skip their pauses.

``FaultProxy`` serves the sandbox API at an address of its own, in front of the embedded sandbox or
alone, and does on demand what networks, proxies and rollouts do: it refuses, resets, hangs, drips,
cuts, answers 503. ``faults`` has every such fault by name; ``make_certificate`` makes the
certificates that a client must not accept.

::

    from pytest_tlsandbox.testing import FaultProxy, faults

    def test_a_rollout_does_not_fail_the_job(tlsandbox_local, tlsandbox_connect):
        with FaultProxy(tlsandbox_local) as proxy:
            sandbox = tlsandbox_connect(proxy)
            job = sandbox.start_process("sh", ["-c", "sleep 3; exit 0"])
            proxy.fail(faults.SANDBOX_NOT_READY, seconds=2)
            sandbox.wait_for_exit(job, timeout=30)

``make_certificate`` runs ``openssl``.
"""

from pytest_tlsandbox.testing import faults
from pytest_tlsandbox.testing.certificates import make_certificate
from pytest_tlsandbox.testing.clock import FakeClock, no_sleep
from pytest_tlsandbox.testing.faults import Fault, Reply
from pytest_tlsandbox.testing.listings import ScriptedLister, row
from pytest_tlsandbox.testing.proxy import FaultProxy
from pytest_tlsandbox.testing.recording import record, replay

__all__ = [
    "FakeClock",
    "Fault",
    "FaultProxy",
    "Reply",
    "ScriptedLister",
    "faults",
    "make_certificate",
    "no_sleep",
    "record",
    "replay",
    "row",
]
