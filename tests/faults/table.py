"""The table: the outcome of each helper for each fault. N replaces times, counts, ports and pids.

A fault that may pass has two rows. If it happens once, the helper retries; a request that may have
arrived and must not be repeated fails instead. If the fault stays, the helper fails in the end.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_tlsandbox import process_control, sandbox
from pytest_tlsandbox.client import retry
from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.monitoring import monitored_sandbox
from pytest_tlsandbox.waiting import polling
from tests.fault_proxy import faults

from .helpers import LEFT, PASS, Scene

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest


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
_CALL = 1.0
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
    """One fault: what is played, and the outcome of each kind of helper.

    ``seconds``: how long it may take, without :data:`SPARE`. ``but``: outcomes of some helpers.
    """

    name: str
    scene: Scene
    by_kind: Mapping[str, str]
    seconds: float
    but: Mapping[str, str] = field(default_factory=dict)
    pace: Pace = AMPLE

    def expected(self, helper):
        """Return the expected outcome of this helper."""
        sent = {"run_process": "start_process", "stop_process": "send_signal"}
        name = helper.name if helper.name in self.but else sent.get(helper.name, helper.name)
        return self.but.get(name, self.by_kind[helper.kind])


def _kinds(poll, **others):
    """Return the same outcome for every kind of helper, with some exceptions."""
    return dict.fromkeys(("poll", "read", "once", "again", "teardown", "guard"), poll) | others


def _fails(error, words, *, waits=False):
    """Return the outcomes if every call fails with an error; ``waits``: not at once."""
    after, listing = (" after N s", "; could not list the processes for N s") if waits else ("", "")
    read = f'{error}: Output of "echo ready" not read{after}: {words}'
    once, guard = f"{error}: {words}", f"not monitored: {words}"
    poll = f"{error}: {words}{listing}"
    return _kinds(poll, read=read, once=once, again=once, teardown=LEFT, guard=guard)


def _always(fault):
    return Scene(lambda proxy, helper, _here: proxy.fail(fault, only=helper.only))


def _in_turn(*stages):
    """Return a scene in which each fault lasts for a number of seconds."""
    return Scene(
        lambda proxy, *_: [proxy.then(fault, seconds=seconds) for fault, seconds in stages]
    )


def rollout(seconds):
    """Return the faults of a rollout of the control plane (api-notes, "Errors")."""
    stages = faults.SANDBOX_NOT_READY, faults.AUTH_SERVICE_UNAVAILABLE, faults.SANDBOX_UNREACHABLE
    return _in_turn(*((fault, seconds / 3) for fault in stages))


def of_a_start(error, words, *, arrives):
    """Return how a start reports an error: with its program, which may have started."""
    if not arrives:
        return f"{error}: Cannot start 'true': {words}"
    return (
        f"{error}: Not known whether 'true' was started: {words}; if it was, "
        "list_processes() shows it"
    )


def passes(
    fault, words, *, arrives, error="SandboxUnreachable", without_a_body=(), asked=0.0,
    refusal=False, hangs=False,
):  # fmt: skip
    """Return both rows of a fault that may pass.

    ``words`` is its text in an error, ``arrives`` whether the request may have had its effect;
    ``without_a_body``: calls whose good answer has no body to damage; ``asked``: seconds that the
    server asks to wait; ``refusal``: whether it rejects calls that change something, finally;
    ``hangs``: whether only the limit of the call ends it.
    """
    call = _CALL if hangs else AMPLE.call
    but = dict.fromkeys(without_a_body, PASS)
    start = of_a_start(error, words, arrives=arrives)
    if refusal:
        changing = ("send_signal", "restart_process", "kill_process")
        but = dict.fromkeys(changing, f"RequestRefused: {words}")
        start = of_a_start("RequestRefused", words, arrives=False)
    once = Scene(lambda proxy, helper, _here: proxy.fail(fault, times=1, only=helper.only))
    at_most_once = {**but, "start_process": start} if arrives else but
    stays = _fails(error, words, waits=True)
    if fault.refuses:
        # No request arrives, so count by seconds. The first request fails, also of a wait that
        # reads output; nothing listens, so the end of a test has nothing to kill.
        once, but = _in_turn((fault, 0.2)), {}
        stays |= {**dict.fromkeys(("read", "once", "again"), stays["poll"]), "teardown": PASS}
    return [
        Row(f"{fault.name}, once", once, _kinds(PASS, once=stays["once"] if arrives else PASS),
            1.0 + asked, at_most_once, replace(AMPLE, call=call)),
        Row(f"{fault.name}, and stays", _always(fault), stays, SHORT.timeout + 0.5,
            {**but, "start_process": start}, replace(SHORT, call=call)),
    ]  # fmt: skip


def coded(*several, arrives):
    """Return both rows of each error that the sandbox's proxy sends with a code."""
    return [row for fault in several for row in passes(fault, _answered(fault), arrives=arrives)]


def final(fault, error, words, *, arrives=False, but=None):
    """Return the row of a fault that a retry cannot fix, so that every call fails at once."""
    by_kind = _fails(error, words)
    if error in ("SandboxNotFound", "SandboxNotRunning"):
        by_kind["teardown"] = PASS
    of_start = {"start_process": of_a_start(error, words, arrives=arrives)}
    return [Row(fault.name, _always(fault), by_kind, 0.0, {**of_start, **(but or {})})]


def tls(flaw, reason):
    """Return the row of a certificate that a client must reject."""
    words = f"{_REACHED}TLS failed ({reason})"
    by_kind = _fails("SandboxUnreachable", words)
    by_kind["read"] = by_kind["poll"]
    of_start = {"start_process": of_a_start("SandboxUnreachable", words, arrives=False)}
    scene = Scene(lambda *_: None, flaw=flaw)
    return [Row(f"TLS, certificate {flaw}", scene, by_kind, 0.0, of_start)]


def not_a_body(fault, kind, *, done=(), status=200):
    """Return the row of a body that is complete but does not follow the API.

    ``done``: the calls for which this body is also a good answer.
    """
    start = of_a_start(
        "ContractViolation", f"The sandbox answered with {kind}, not a process", arrives=True
    )
    told = f"ContractViolation: local: the response to a {{}} request is {kind}"
    but = {
        "start_process": start,
        "restart_process": f"ContractViolation: The sandbox answered with {kind}, not a process",
        "output": f"ContractViolation: {_NO_LINES}",
        "wait_for_output, reading": f'ContractViolation: Output of "echo ready" not read: {_NO_LINES}',
        "send_signal": told.format("signal"),
        "kill_process": told.format("kill"),
        **dict.fromkeys(done, PASS),
        **({"stop_process": _NOT_STOPPED} if "send_signal" in done else {}),
    }
    return final(
        fault,
        "ContractViolation",
        f"local answered {status} with {kind}, not a process list",
        but=but,
    )


def replaced(name, begin):
    """Return the row of another sandbox that answers under the same name."""
    by_kind = _kinds(_REPLACED, teardown=PASS, guard=_MISSED)
    but = {"start_process": PASS, "run_process": _REPLACED}
    return [Row(name, Scene(begin), by_kind, 0.0, but)]


def _elsewhere(proxy):
    return Address("local", "https://local.sandbox.invalid", key=proxy.api_key)


def _answered(fault):
    return f"local answered {fault.name}: the proxy could not serve this"


_REACHED = "local cannot be reached: "
_UNKNOWN = f"{_REACHED}its host name is not known"
_NO_HOST = _fails("SandboxUnreachable", _UNKNOWN, waits=True)
_CUT = "unexpected or incomplete JSON (N bytes)"
_LATE = "local did not answer within N s"
_GONE_404 = "Sandbox local does not exist or is not running (404{})"
_PATH_404 = (
    "http://127.0.0.1:N is a shared host, not a sandbox (404 LIFECYCLE_PATH_NOT_FOUND); set it as the "
    "proxy URL, and pass the id of the sandbox as the target"
)
_PAGE = "an HTML page (N bytes)"
_NO_BODY = ("kill_process",)
_NO_PROCESS = "local answered 404 NOT_FOUND: Process 42 not found"
_NOT_STOPPED = "WaitTimedOut: Still running after N s, wanted its end: sleep"
_NO_LINES = "local: the response with the output of pid N does not contain a 'lines' list"
_REPLACED = "SandboxReplaced: Sandbox local was replaced or restarted during this test"
_MISSED = "not monitored: it was replaced or restarted: the ends of the processes listed before are not known"

# fmt: off
TABLE = [
    # The connection.
    *passes(faults.REFUSED, f"{_REACHED}the connection was refused", arrives=False),
    *passes(faults.RESET_BEFORE_HEADERS, f"{_REACHED}the connection was reset", arrives=True),
    *passes(faults.RESET_AFTER_HEADERS, f"{_REACHED}the connection was reset", arrives=True, without_a_body=_NO_BODY),
    *passes(faults.HANG_BEFORE_HEADERS, _LATE, arrives=True, hangs=True),
    *passes(faults.HANG_IN_BODY, _LATE, arrives=True, hangs=True, without_a_body=_NO_BODY),
    *passes(faults.ONE_BYTE_A_SECOND, _LATE, arrives=True, hangs=True),
    Row("no such host", Scene(lambda *_: None, _elsewhere), {**_NO_HOST, **dict.fromkeys(("read", "once", "again"), _NO_HOST["poll"])}, SHORT.timeout, {"start_process": f"SandboxUnreachable: Cannot start 'true': {_UNKNOWN}"}, SHORT),

    *tls("self-signed", "self-signed certificate"),
    *tls("expired", "the certificate has expired"),
    *tls("for another host", "the certificate is for another host"),

    # The body.
    *passes(faults.LENGTH_TOO_LARGE, f"{_REACHED}the response was cut short", arrives=True, without_a_body=_NO_BODY),
    *passes(faults.CHUNKED_AND_CUT, f"{_REACHED}the response was cut short", arrives=True, without_a_body=_NO_BODY),
    *not_a_body(faults.CUT_JSON, _CUT, done=_NO_BODY),
    *not_a_body(faults.LENGTH_TOO_SMALL, _CUT, done=_NO_BODY),
    *not_a_body(faults.HTML, _PAGE),
    *not_a_body(faults.NO_CONTENT, "an empty response (N bytes)", done=("send_signal", "kill_process"), status=204),
    *not_a_body(faults.EMPTY, "an empty response (N bytes)", done=("send_signal", "kill_process")),
    *final(faults.BROKEN_GZIP, "SandboxUnreachable", f"{_REACHED}the answer is compressed and cannot be read", arrives=True, but={"kill_process": PASS}),

    # The key, the sandbox and the process.
    *final(faults.redirected("http://127.0.0.1:9/"), "ContractViolation", "local answered 301, a redirect; redirects are not followed, because the API key would be sent to the new address"),
    *final(faults.KEY_REFUSED, "AuthenticationFailed", "local rejected the API key (401 UNAUTHORIZED): invalid credentials"),
    *final(faults.KEY_NOT_ALLOWED, "AuthenticationFailed", "local does not allow this call with the API key (403 TL_FORBIDDEN): forbidden"),
    *final(faults.SANDBOX_NOT_FOUND, "SandboxNotFound", _GONE_404.format(" SANDBOX_NOT_FOUND")),
    *final(faults.SANDBOX_GONE, "SandboxNotFound", _GONE_404.format("")),
    *final(faults.LIFECYCLE_PATH_NOT_FOUND, "SandboxNotFound", _PATH_404),
    *final(faults.PROCESS_NOT_FOUND, "RequestRefused", _NO_PROCESS, but={"kill_process": PASS, "stop_process": _NOT_STOPPED}),
    *final(faults.TERMINATED, "SandboxNotRunning", "Sandbox local is terminated (Timeout)"),
    *final(faults.NOT_RUNNING_TERMINATED, "SandboxNotRunning", "Sandbox local is terminated (503 SANDBOX_NOT_RUNNING)"),
    *passes(faults.SUSPENDED, "Sandbox local is suspended", arrives=False, error="SandboxNotRunning"),
    *passes(faults.SUSPENDING, "Sandbox local is suspending (400 SANDBOX_NOT_RUNNING)", arrives=False, error="SandboxNotRunning"),
    *passes(faults.NOT_RUNNING_SUSPENDED, "Sandbox local is suspended (503 SANDBOX_NOT_RUNNING)", arrives=False, error="SandboxNotRunning"),

    # Too much, or too early.
    *passes(faults.TOO_MANY_SECONDS, "local answered 429: slow down", arrives=False, asked=1.0),
    *passes(faults.TOO_MANY_DATE, "local answered 429: slow down", arrives=False, asked=1.0),
    *passes(faults.TOO_MANY_NONSENSE, "local answered 429: slow down", arrives=False),
    *passes(faults.INTERNAL_ERROR, "local answered 500: broken", arrives=True, refusal=True),
    *passes(faults.BAD_GATEWAY_HTML, "local answered 502 with an HTML page (N bytes)", arrives=True),
    *coded(faults.CONNECTION_REFUSED, faults.CONNECTION_CLOSED, faults.PROXY_ERROR, arrives=True),
    *coded(faults.SANDBOX_NOT_READY, faults.SANDBOX_UNREACHABLE, faults.SANDBOX_UPSTREAM_ERROR, faults.AUTH_SERVICE_UNAVAILABLE, arrives=False),
    *coded(faults.CONNECTION_TIMEOUT, faults.READ_TIMEOUT, faults.WRITE_TIMEOUT, arrives=True),
    *final(faults.UPSTREAM_ERROR_4XX, "RequestRefused", _answered(faults.UPSTREAM_ERROR_4XX)),

    # Faults that last for a while and pass.
    Row("slow start", _in_turn((faults.REFUSED, 0.2), (faults.SANDBOX_NOT_READY, 0.2)), _kinds(PASS), SHORT.timeout),
    Row("rollout", _in_turn((faults.SANDBOX_NOT_READY, 0.25), (faults.AUTH_SERVICE_UNAVAILABLE, 0.2)), _kinds(PASS), SHORT.timeout),
    Row("suspended, and resumed", _in_turn((faults.SUSPENDING, 0.2), (faults.SUSPENDED, 0.2)), _kinds(PASS), SHORT.timeout),

    # Another sandbox.
    *replaced("sandbox replaced under the same name", lambda proxy, _helper, here: setattr(proxy, "sandbox", here.other)),
    *replaced("daemon restarted", lambda proxy, *_: proxy.fail(faults.DAEMON_RESTARTED)),
    *replaced("daemon restarted, nothing runs", lambda proxy, *_: proxy.fail(faults.DAEMON_RESTARTED_EMPTY)),
]
# fmt: on
