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
        return self.but.get(helper.name, self.by_kind[helper.kind])


def _kinds(look, **others):
    """Return the same outcome for every kind of helper, with some exceptions."""
    return {**dict.fromkeys(("look", "read", "once", "again", "teardown", "guard"), look), **others}


def _once(fault):
    if fault.refuses:  # no request arrives, so count by seconds
        return Scene(lambda proxy, *_: proxy.fail(fault, seconds=0.2))
    return Scene(lambda proxy, helper, _here: proxy.fail(fault, times=1, only=helper.only))


def _always(fault):
    return Scene(lambda proxy, helper, _here: proxy.fail(fault, only=helper.only))


def of_a_start(told, *, arrives):
    """Return how a start reports an error: with its program, which may have started."""
    error, _, words = told.partition(": ")
    if not arrives:
        return f"{error}: Cannot start 'true': {words}"
    return (
        f"{error}: Not known whether 'true' was started: {words}; if it was, "
        "list_processes() shows it"
    )


def passes(
    fault,
    words,
    *,
    arrives,
    error="SandboxUnreachable",
    without_a_body=(),
    asked=0.0,
    refusal=False,
    hangs=False,
):
    """Return both rows of a fault that may pass.

    ``words`` is its text in the error of a call, ``arrives`` whether the request may have had its
    effect; ``without_a_body``: calls whose good answer has no body to damage; ``asked``: seconds
    that the server asks to wait; ``refusal``: whether it rejects calls that change something,
    finally; ``hangs``: whether only the limit of the call ends it.
    """
    call = _CALL if hangs else AMPLE.call
    told = f"{error}: {words}"
    but = dict.fromkeys(without_a_body, PASS)
    of_start = {"start_process": of_a_start(told, arrives=arrives)}
    if refusal:
        as_refusal = f"RequestRefused: {words}"
        but = dict.fromkeys(("send_signal", "restart_process", "kill_process"), as_refusal)
        of_start = {"start_process": of_a_start(as_refusal, arrives=False)}
    once = _kinds(PASS, once=told if arrives else PASS)
    read = f"{error}: Output of echo ready not read after N s: {words}"
    missed = f"not monitored: {words}"
    stays = _kinds(told, read=read, teardown=LEFT, guard=missed)
    if fault.refuses:  # whatever is asked first meets it; where nothing listens nothing is left
        stays = _kinds(told, teardown=PASS, guard=missed)
        but = {}
    return [
        Row(
            f"{fault.name}, once",
            _once(fault),
            once,
            1.0 + asked,
            {**but, **of_start} if arrives else but,
            replace(AMPLE, call=call),
        ),
        Row(
            f"{fault.name}, and stays",
            _always(fault),
            stays,
            SHORT.timeout + 0.5,
            {**but, **of_start},
            replace(SHORT, call=call),
        ),
    ]


def coded(fault, label, *, arrives):
    """Return both rows of an error that the sandbox's proxy sends with a code."""
    return passes(fault, _answered(label), arrives=arrives)


def final(fault, error, words, *, arrives=False, but=None):
    """Return the row of a fault that a retry cannot fix, so that every call fails at once."""
    told = f"{error}: {words}"
    read = f"{error}: Output of echo ready not read: {words}"
    teardown = PASS if error in ("SandboxNotFound", "SandboxNotRunning") else LEFT
    by_kind = _kinds(told, read=read, teardown=teardown, guard=f"not monitored: {words}")
    of_start = {"start_process": of_a_start(told, arrives=arrives)}
    return [Row(fault.name, _always(fault), by_kind, 0.0, {**of_start, **(but or {})})]


def tls(flaw, reason):
    """Return the row of a certificate that a client must reject."""
    words = f"{_REACHED}TLS failed ({reason})"
    told = f"SandboxUnreachable: {words}"
    by_kind = _kinds(told, teardown=LEFT, guard=f"not monitored: {words}")
    of_start = {"start_process": of_a_start(told, arrives=False)}
    scene = Scene(lambda *_: None, flaw=flaw)
    return [Row(f"TLS, certificate {flaw}", scene, by_kind, 0.0, of_start)]


def no_body_of_ours(fault, kind, *, done=()):
    """Return the row of a body that is complete but does not follow the API.

    ``done``: the calls for which this body is also a good answer.
    """
    told = f"ContractViolation: local: the answer to a {{}} is {kind}"
    no_lines = "local: the output of pid N has no lines"
    return final(
        fault,
        "ContractViolation",
        f"Not a process list: {kind}",
        but={
            "start_process": of_a_start(f"ContractViolation: Not a process: {kind}", arrives=True),
            "restart_process": f"ContractViolation: Not a process: {kind}",
            "output": f"ContractViolation: {no_lines}",
            "wait_for_output, reading": (
                f"ContractViolation: Output of echo ready not read: {no_lines}"
            ),
            "send_signal": PASS if "send_signal" in done else told.format("signal"),
            "kill_process": PASS if "kill_process" in done else told.format("kill"),
        },
    )


def _elsewhere(proxy):
    return Address("local", "https://local.sandbox.invalid", key=proxy.api_key)


def _answered(label):
    return f"local answered {label}: the proxy could not serve this"


_REACHED = "local cannot be reached: "
_CUT = "JSON of another shape, or cut short (N bytes)"
_LATE = "local did not answer within N s"
_GONE_404 = "No sandbox local: it does not exist, or is not running (404{})"
_PATH_404 = (
    "http://127.0.0.1:N is a shared host, not a sandbox (404 LIFECYCLE_PATH_NOT_FOUND); set it as the "
    "proxy URL, and pass the id of the sandbox as the target"
)
_PAGE = "an HTML page (N bytes)"
_NO_BODY = ("kill_process",)
_NO_PROCESS = "local answered 404 NOT_FOUND: Process 42 not found"
_REPLACED = "SandboxReplaced: Another sandbox answers as local"
_MISSED = "not monitored: it was replaced or restarted: the ends of the processes listed before are not known"

# fmt: off
TABLE = [
    # The way to the sandbox.
    *passes(faults.REFUSED, f"{_REACHED}the connection was refused", arrives=False),
    *passes(faults.RESET_BEFORE_HEADERS, f"{_REACHED}the connection was reset", arrives=True),
    *passes(faults.RESET_AFTER_HEADERS, f"{_REACHED}the connection was reset", arrives=True, without_a_body=_NO_BODY),
    *passes(faults.HANG_BEFORE_HEADERS, _LATE, arrives=True, hangs=True),
    *passes(faults.HANG_IN_BODY, _LATE, arrives=True, hangs=True, without_a_body=_NO_BODY),
    *passes(faults.ONE_BYTE_A_SECOND, _LATE, arrives=True, hangs=True),
    Row("no such host", Scene(lambda *_: None, _elsewhere), _kinds(f"SandboxUnreachable: {_REACHED}its host name is not known", teardown=LEFT, guard=f"not monitored: {_REACHED}its host name is not known"), SHORT.timeout, {"start_process": f"SandboxUnreachable: Cannot start 'true': {_REACHED}its host name is not known"}, SHORT),

    *tls("self-signed", "self-signed certificate"),
    *tls("expired", "the certificate has expired"),
    *tls("for another host", "the certificate is for another host"),

    # The body.
    *passes(faults.LENGTH_TOO_LARGE, f"{_REACHED}the answer was cut short", arrives=True, without_a_body=_NO_BODY),
    *passes(faults.CHUNKED_AND_CUT, f"{_REACHED}the answer was cut short", arrives=True, without_a_body=_NO_BODY),
    *no_body_of_ours(faults.CUT_JSON, _CUT, done=_NO_BODY),
    *no_body_of_ours(faults.LENGTH_TOO_SMALL, _CUT, done=_NO_BODY),
    *no_body_of_ours(faults.HTML, _PAGE),
    *no_body_of_ours(faults.NO_CONTENT, "an empty answer (N bytes)", done=("send_signal", "kill_process")),
    *no_body_of_ours(faults.EMPTY, "an empty answer (N bytes)", done=("send_signal", "kill_process")),
    *final(faults.BROKEN_GZIP, "SandboxUnreachable", f"{_REACHED}the answer is compressed and cannot be read", arrives=True, but={"kill_process": PASS}),

    # Who asks, and for what.
    *final(faults.redirected("http://127.0.0.1:9/"), "ContractViolation", "local answered 301, a redirect; redirects are not followed, because the API key would be sent to the new address"),
    *final(faults.KEY_REFUSED, "AuthenticationFailed", "local: the API key was rejected (401 UNAUTHORIZED): invalid credentials"),
    *final(faults.KEY_NOT_ALLOWED, "AuthenticationFailed", "local: the API key lacks permission for this call (403 TL_FORBIDDEN): forbidden"),
    *final(faults.SANDBOX_NOT_FOUND, "SandboxNotFound", _GONE_404.format(" SANDBOX_NOT_FOUND")),
    *final(faults.SANDBOX_GONE, "SandboxNotFound", _GONE_404.format("")),
    *final(faults.LIFECYCLE_PATH_NOT_FOUND, "SandboxNotFound", _PATH_404),
    *final(faults.PROCESS_NOT_FOUND, "RequestRefused", _NO_PROCESS, but={"kill_process": PASS}),
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
    *coded(faults.CONNECTION_REFUSED, "502 CONNECTION_REFUSED", arrives=True),
    *coded(faults.CONNECTION_CLOSED, "502 CONNECTION_CLOSED", arrives=True),
    *coded(faults.PROXY_ERROR, "502 PROXY_ERROR", arrives=True),
    *coded(faults.SANDBOX_NOT_READY, "503 SANDBOX_NOT_READY", arrives=False),
    *coded(faults.SANDBOX_UNREACHABLE, "503 SANDBOX_UNREACHABLE", arrives=False),
    *coded(faults.SANDBOX_UPSTREAM_ERROR, "503 SANDBOX_UPSTREAM_ERROR", arrives=False),
    *coded(faults.AUTH_SERVICE_UNAVAILABLE, "503 AUTH_SERVICE_UNAVAILABLE", arrives=False),
    *coded(faults.CONNECTION_TIMEOUT, "504 CONNECTION_TIMEOUT", arrives=True),
    *coded(faults.READ_TIMEOUT, "504 READ_TIMEOUT", arrives=True),
    *coded(faults.WRITE_TIMEOUT, "504 WRITE_TIMEOUT", arrives=True),
    *final(faults.UPSTREAM_ERROR_4XX, "RequestRefused", _answered("404 SANDBOX_UPSTREAM_ERROR")),

    # Faults that last for a while and pass.
    Row("slow start", Scene(lambda proxy, *_: proxy.fail(faults.REFUSED, seconds=0.2).then(faults.SANDBOX_NOT_READY, seconds=0.2)), _kinds(PASS), SHORT.timeout),
    Row("rollout", Scene(lambda proxy, *_: proxy.fail(faults.SANDBOX_NOT_READY, seconds=0.25).then(faults.AUTH_SERVICE_UNAVAILABLE, seconds=0.2)), _kinds(PASS), SHORT.timeout),
    Row("suspended, and resumed", Scene(lambda proxy, *_: proxy.fail(faults.SUSPENDING, seconds=0.2).then(faults.SUSPENDED, seconds=0.2)), _kinds(PASS), SHORT.timeout),

    # Another sandbox.
    Row("sandbox replaced under the same name", Scene(lambda proxy, _helper, here: setattr(proxy, "sandbox", here.other)), _kinds(_REPLACED, teardown=PASS, guard=_MISSED), 0.0, {"start_process": PASS}),
    Row("daemon restarted", Scene(lambda proxy, *_: proxy.fail(faults.DAEMON_RESTARTED)), _kinds(_REPLACED, teardown=PASS, guard=_MISSED), 0.0, {"start_process": PASS}),
    Row("daemon restarted, nothing runs", Scene(lambda proxy, *_: proxy.fail(faults.DAEMON_RESTARTED_EMPTY)), _kinds(_REPLACED, teardown=PASS, guard=_MISSED), 0.0, {"start_process": PASS}),
]
# fmt: on
