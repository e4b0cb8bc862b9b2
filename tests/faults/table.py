"""The table of faults. docs/contributing/faults.md shows the outcome of each helper for each row."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pytest

from pytest_tlsandbox import process_control, sandbox
from pytest_tlsandbox.client import retry
from pytest_tlsandbox.client.address import Address, locate
from pytest_tlsandbox.monitoring import monitored_sandbox
from pytest_tlsandbox.waiting import polling
from tests.fault_proxy import FaultProxy, faults

from .helpers import Helper


@dataclass(frozen=True)
class Pace:
    """Seconds: a ``timeout=``, how long an outage is ridden out for, what a call may take."""

    timeout: float
    patience: float
    call: float = 5.0


# Short only if a test waits for them to pass. Otherwise they are ample, because the machine may be
# busy.
AMPLE = Pace(15.0, 15.0)
SHORT = Pace(1.6, 1.2)
SPARE = 8.0
"""Seconds above what is promised that a machine with other work to do may take."""


def scaled_down(patch: pytest.MonkeyPatch, pace: Pace) -> None:
    """Scale the times down, and make unknown host names fail at once."""
    for module in (polling, retry, sandbox, monitored_sandbox):
        patch.setattr(module, "LONGEST_CALL", pace.call)
    patch.setattr(retry, "OUTAGE_BUDGET", pace.patience)
    patch.setattr(monitored_sandbox, "FIRST_PATIENCE", pace.patience)
    patch.setattr(process_control, "_LONGEST_FAREWELL", pace.patience)
    look_up = socket.getaddrinfo

    def fail_for_invalid(host, *args, **options):
        if str(host).endswith(".invalid"):  # asking a real name server may take its time
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **options)

    patch.setattr(socket, "getaddrinfo", fail_for_invalid)


@dataclass(frozen=True)
class Row:
    """One fault, and how many seconds a helper may take, without :data:`SPARE`.

    ``begin`` sets the fault up on a proxy in front of the world, before a helper is called.
    ``address`` returns the address of the client, the proxy's or another one. ``flaw``: of the
    certificate of the proxy.
    """

    name: str
    begin: Callable[[FaultProxy, Helper, Any], object]
    seconds: float
    pace: Pace = AMPLE
    address: Callable[[FaultProxy], Address] = locate
    flaw: str | None = None


def _always(fault, **how_long):
    return lambda proxy, helper, _here: proxy.fail(fault, only=helper.only, **how_long)


def _in_turn(*stages):
    """Let each fault last for a number of seconds."""
    return lambda proxy, *_: [proxy.then(fault, seconds=seconds) for fault, seconds in stages]


def rollout(seconds):
    """Return the faults of a rollout of the control plane (api-notes, "Errors")."""
    stages = faults.SANDBOX_NOT_READY, faults.AUTH_SERVICE_UNAVAILABLE, faults.SANDBOX_UNREACHABLE
    return Row("rollout", _in_turn(*((fault, seconds / 3) for fault in stages)), seconds)


def passes(*several, asked=0.0, call=AMPLE.call):
    """Return both rows of each fault that may pass.

    If it happens once, the helper retries; a request that may have arrived and must not be repeated
    fails instead. If the fault stays, the helper fails in the end. ``asked``: seconds that the
    server asks to wait; ``call``: seconds that a call may take.
    """
    for fault in several:
        # If no request arrives, count by seconds.
        once = _in_turn((fault, 0.2)) if fault.refuses else _always(fault, times=1)
        yield Row(f"{fault.name}, once", once, 1.0 + asked, replace(AMPLE, call=call))
        stays = replace(SHORT, call=call)
        yield Row(f"{fault.name}, and stays", _always(fault), SHORT.timeout + 0.5, stays)


def final(*several):
    """Return the row of each fault that a retry cannot fix, so that every call fails at once."""
    return [Row(fault.name, _always(fault), 0.0) for fault in several]


def tls(*flaws):
    """Return the row of each certificate that a client must reject."""
    return [Row(f"TLS, certificate {flaw}", lambda *_: None, 0.0, flaw=flaw) for flaw in flaws]


def _elsewhere(proxy):
    return Address("local", "https://local.sandbox.invalid", key=proxy.api_key)


def _replace(proxy, _helper, here):
    proxy.sandbox = here.other


TABLE = [*chain(
    # The connection.
    passes(faults.REFUSED, faults.RESET_BEFORE_HEADERS, faults.RESET_AFTER_HEADERS),
    passes(faults.HANG_BEFORE_HEADERS, faults.HANG_IN_BODY, faults.ONE_BYTE_A_SECOND, call=1.0),
    [Row("no such host", lambda *_: None, SHORT.timeout, SHORT, address=_elsewhere)],
    tls("self-signed", "expired", "for another host"),

    # The body.
    passes(faults.LENGTH_TOO_LARGE, faults.CHUNKED_AND_CUT),
    final(faults.CUT_JSON, faults.LENGTH_TOO_SMALL, faults.HTML, faults.NO_CONTENT, faults.EMPTY),
    final(faults.BROKEN_GZIP),

    # The key, the sandbox and the process.
    final(faults.redirected("http://127.0.0.1:9/"), faults.KEY_REFUSED, faults.KEY_NOT_ALLOWED),
    final(faults.SANDBOX_NOT_FOUND, faults.SANDBOX_GONE, faults.LIFECYCLE_PATH_NOT_FOUND),
    final(faults.PROCESS_NOT_FOUND, faults.TERMINATED, faults.NOT_RUNNING_TERMINATED),
    passes(faults.SUSPENDED, faults.SUSPENDING, faults.NOT_RUNNING_SUSPENDED),

    # Too much, or too early.
    passes(faults.TOO_MANY_SECONDS, faults.TOO_MANY_DATE, asked=1.0),
    passes(faults.TOO_MANY_NONSENSE, faults.INTERNAL_ERROR, faults.BAD_GATEWAY_HTML),
    passes(faults.CONNECTION_REFUSED, faults.CONNECTION_CLOSED, faults.PROXY_ERROR),
    passes(faults.SANDBOX_NOT_READY, faults.SANDBOX_UNREACHABLE, faults.SANDBOX_UPSTREAM_ERROR),
    passes(faults.AUTH_SERVICE_UNAVAILABLE),
    passes(faults.CONNECTION_TIMEOUT, faults.READ_TIMEOUT, faults.WRITE_TIMEOUT),
    final(faults.UPSTREAM_ERROR_4XX),
    [
        # Faults that last for a while and pass.
        Row("slow start", _in_turn((faults.REFUSED, 0.2), (faults.SANDBOX_NOT_READY, 0.2)), 1.6),
        Row("rollout", _in_turn((faults.SANDBOX_NOT_READY, 0.25), (faults.AUTH_SERVICE_UNAVAILABLE, 0.2)), 1.6),
        Row("suspended, and resumed", _in_turn((faults.SUSPENDING, 0.2), (faults.SUSPENDED, 0.2)), 1.6),

        # Another sandbox.
        Row("sandbox replaced under the same name", _replace, 0.0),
        Row("daemon restarted", lambda proxy, *_: proxy.fail(faults.DAEMON_RESTARTED), 0.0),
        Row("daemon restarted, nothing runs", lambda proxy, *_: proxy.fail(faults.DAEMON_RESTARTED_EMPTY), 0.0),
    ],
)]  # fmt: skip
