"""A proxy between a client and the embedded sandbox that injects the faults of real networks.

It refuses, resets, hangs, drips, cuts or answers 503. ``faults`` has every such fault by name;
``make_certificate`` makes, with ``openssl``, the certificates that a client must not accept.
"""

from tests.fault_proxy import faults
from tests.fault_proxy.certificates import make_certificate
from tests.fault_proxy.faults import Fault, Reply
from tests.fault_proxy.proxy import FaultProxy

__all__ = ["Fault", "FaultProxy", "Reply", "faults", "make_certificate"]
