"""For tests of tests: what stands between a suite and its sandbox on a bad day.

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

Needs nothing but the standard library; ``make_certificate`` runs ``openssl``.
"""

from pytest_tlsandbox.testing import faults
from pytest_tlsandbox.testing.certificates import make_certificate
from pytest_tlsandbox.testing.faults import Fault, Reply
from pytest_tlsandbox.testing.proxy import FaultProxy

__all__ = ["Fault", "FaultProxy", "Reply", "faults", "make_certificate"]
