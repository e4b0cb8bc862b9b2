"""What an answer with an error status means."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.http_errors import fault_of
from pytest_tlsandbox.errors import (
    AuthenticationFailed,
    ContractViolation,
    RequestRefused,
    SandboxNotFound,
    SandboxNotRunning,
    SandboxUnreachable,
)

ADDRESS = Address("my-sandbox", "https://x.example")
HTML = b"<html><h1>502 Bad Gateway</h1></html>"


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any = b""
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def fault(self):
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return fault_of(f"{self.method} /processes", self.status, dict(self.headers), body, ADDRESS)


def fault(answer):
    found = answer.fault
    assert found is not None
    return found


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_an_answer_that_succeeded_is_no_fault(status):
    assert Answer(status).fault is None


# The answer, what is raised, the message, the label, (transient, delivered).
FINAL, PASSES, NOT_SENT, FINAL_NOT_SENT = (False, True), (True, True), (True, False), (False, False)
MEANINGS = {
    "redirect": (
        Answer(301),
        ContractViolation,
        (
            "my-sandbox answered 301, a redirect to another place; redirects are not followed, for "
            "the key would go with them"
        ),
        "301",
        FINAL_NOT_SENT,
    ),
    "401 of the platform": (
        Answer(401, {"message": "invalid credentials", "code": "UNAUTHORIZED", "trace_id": "0a"}),
        AuthenticationFailed,
        "my-sandbox: the API key was refused (401 UNAUTHORIZED): invalid credentials",
        "401 UNAUTHORIZED",
        FINAL,
    ),
    "401 without a word": (
        Answer(401),
        AuthenticationFailed,
        "my-sandbox: the API key was refused (401)",
        "401",
        FINAL,
    ),
    "403": (
        Answer(403, {"error": "not yours", "code": "TL_FORBIDDEN"}),
        AuthenticationFailed,
        "my-sandbox: the API key may not do this (403 TL_FORBIDDEN): not yours",
        "403 TL_FORBIDDEN",
        FINAL,
    ),
    "403 in HTML": (
        Answer(403, HTML),
        AuthenticationFailed,
        "my-sandbox: the API key may not do this (403)",
        "403",
        FINAL,
    ),
    "404 by code": (
        Answer(404, {"error": "no", "code": "SANDBOX_NOT_FOUND"}),
        SandboxNotFound,
        "No sandbox my-sandbox: it does not exist, or is not running (404 SANDBOX_NOT_FOUND)",
        "404 SANDBOX_NOT_FOUND",
        FINAL,
    ),
    "404 by text": (
        Answer(404, {"error": "Sandbox 'abc123' not found or not running"}),
        SandboxNotFound,
        "No sandbox my-sandbox: it does not exist, or is not running (404)",
        "404",
        FINAL,
    ),
    "404 of a process": (
        Answer(404, {"error": "Process 42 not found", "code": "NOT_FOUND"}),
        RequestRefused,
        "my-sandbox answered 404 NOT_FOUND: Process 42 not found",
        "404 NOT_FOUND",
        FINAL,
    ),
    "404 empty": (
        Answer(404),
        SandboxNotFound,
        "No process API at https://x.example (404): is this the URL of a sandbox?",
        "404",
        FINAL,
    ),
    "404 in HTML": (
        Answer(404, HTML),
        SandboxNotFound,
        "No process API at https://x.example (404): is this the URL of a sandbox?",
        "404",
        FINAL,
    ),
    "404 of the shared host": (
        Answer(404, {"error": "path not found", "code": "LIFECYCLE_PATH_NOT_FOUND"}),
        SandboxNotFound,
        (
            "No sandbox is served at https://x.example (404 LIFECYCLE_PATH_NOT_FOUND): the request "
            "reached a shared host without the name of a sandbox; give its id and set the proxy URL, "
            "not a bare URL"
        ),
        "404 LIFECYCLE_PATH_NOT_FOUND",
        FINAL,
    ),
    "405 empty": (
        Answer(405),
        RequestRefused,
        "my-sandbox answered 405 with an empty answer (0 bytes)",
        "405",
        FINAL,
    ),
    "409 terminated": (
        Answer(409, {"sandbox_id": "abc", "status": "terminated", "reason": "Timeout"}),
        SandboxNotRunning,
        "Sandbox my-sandbox is terminated (Timeout)",
        "409",
        FINAL_NOT_SENT,
    ),
    "409 failed": (
        Answer(409, {"sandbox_id": "abc", "status": "failed", "termination_reason": "no_capacity"}),
        SandboxNotRunning,
        "Sandbox my-sandbox is failed (no_capacity)",
        "409",
        FINAL_NOT_SENT,
    ),
    "409 pending": (
        Answer(409, {"sandbox_id": "abc", "status": "pending"}),
        SandboxNotRunning,
        "Sandbox my-sandbox is pending",
        "409",
        NOT_SENT,
    ),
    "400 suspending": (
        Answer(
            400,
            {
                "error": "Sandbox 'abc' is not running (status: suspending).",
                "code": "SANDBOX_NOT_RUNNING",
            },
        ),
        SandboxNotRunning,
        "Sandbox my-sandbox is suspending (400 SANDBOX_NOT_RUNNING)",
        "400 suspending",
        NOT_SENT,
    ),
    "503 suspended": (
        Answer(
            503, {"error": "Sandbox not running (state: Suspended)", "code": "SANDBOX_NOT_RUNNING"}
        ),
        SandboxNotRunning,
        "Sandbox my-sandbox is suspended (503 SANDBOX_NOT_RUNNING)",
        "503 suspended",
        NOT_SENT,
    ),
    "400 terminated": (
        Answer(400, {"error": "no (status: terminated)", "code": "SANDBOX_NOT_RUNNING"}),
        SandboxNotRunning,
        "Sandbox my-sandbox is terminated (400 SANDBOX_NOT_RUNNING)",
        "400 terminated",
        FINAL_NOT_SENT,
    ),
    "503 in a state that is not said": (
        Answer(503, {"error": "Sandbox not running", "code": "SANDBOX_NOT_RUNNING"}),
        SandboxNotRunning,
        "Sandbox my-sandbox is not running (503 SANDBOX_NOT_RUNNING)",
        "503 SANDBOX_NOT_RUNNING",
        NOT_SENT,
    ),
    "429": (
        Answer(429, {"error": "slow down", "code": "TOO_MANY_SESSIONS"}),
        SandboxUnreachable,
        "my-sandbox answered 429 TOO_MANY_SESSIONS: slow down",
        "429 TOO_MANY_SESSIONS",
        NOT_SENT,
    ),
    "500 for a GET": (
        Answer(500, {"error": "oops"}),
        SandboxUnreachable,
        "my-sandbox answered 500: oops",
        "500",
        PASSES,
    ),
    "500 for a call, with a reason": (
        Answer(500, {"error": "Failed to spawn process"}, "POST"),
        RequestRefused,
        "my-sandbox answered 500: Failed to spawn process",
        "500",
        FINAL,
    ),
    "500 for a call, with a code": (
        Answer(500, {"error": "later", "code": "SANDBOX_UPSTREAM_ERROR"}, "POST"),
        SandboxUnreachable,
        "my-sandbox answered 500 SANDBOX_UPSTREAM_ERROR: later",
        "500 SANDBOX_UPSTREAM_ERROR",
        NOT_SENT,
    ),
    "500 for a call, without a word": (
        Answer(500, b"", "POST"),
        SandboxUnreachable,
        "my-sandbox answered 500 with an empty answer (0 bytes)",
        "500",
        PASSES,
    ),
    "502 in HTML": (
        Answer(502, HTML),
        SandboxUnreachable,
        "my-sandbox answered 502 with an HTML page (37 bytes)",
        "502",
        PASSES,
    ),
    "502 by code": (
        Answer(502, {"error": "Failed to proxy request", "code": "PROXY_ERROR"}),
        SandboxUnreachable,
        "my-sandbox answered 502 PROXY_ERROR: Failed to proxy request",
        "502 PROXY_ERROR",
        PASSES,
    ),
    "503 not ready": (
        Answer(503, {"error": "sandbox is not ready", "code": "SANDBOX_NOT_READY"}),
        SandboxUnreachable,
        "my-sandbox answered 503 SANDBOX_NOT_READY: sandbox is not ready",
        "503 SANDBOX_NOT_READY",
        NOT_SENT,
    ),
    "503 unreachable": (
        Answer(503, {"code": "SANDBOX_UNREACHABLE"}),
        SandboxUnreachable,
        (
            "my-sandbox answered 503 SANDBOX_UNREACHABLE with JSON of another shape, or cut short "
            "(31 bytes)"
        ),
        "503 SANDBOX_UNREACHABLE",
        NOT_SENT,
    ),
    "503 of the auth service": (
        Answer(503, {"error": "auth is down", "code": "AUTH_SERVICE_UNAVAILABLE"}),
        SandboxUnreachable,
        "my-sandbox answered 503 AUTH_SERVICE_UNAVAILABLE: auth is down",
        "503 AUTH_SERVICE_UNAVAILABLE",
        NOT_SENT,
    ),
    "503 upstream": (
        Answer(503, {"error": "later", "code": "SANDBOX_UPSTREAM_ERROR"}),
        SandboxUnreachable,
        "my-sandbox answered 503 SANDBOX_UPSTREAM_ERROR: later",
        "503 SANDBOX_UPSTREAM_ERROR",
        NOT_SENT,
    ),
    "400 upstream": (
        Answer(400, {"error": "bad name", "code": "SANDBOX_UPSTREAM_ERROR"}),
        RequestRefused,
        "my-sandbox answered 400 SANDBOX_UPSTREAM_ERROR: bad name",
        "400 SANDBOX_UPSTREAM_ERROR",
        FINAL,
    ),
    "504": (
        Answer(504, {"error": "late", "code": "READ_TIMEOUT"}),
        SandboxUnreachable,
        "my-sandbox answered 504 READ_TIMEOUT: late",
        "504 READ_TIMEOUT",
        PASSES,
    ),
    "501": (
        Answer(501),
        RequestRefused,
        "my-sandbox answered 501 with an empty answer (0 bytes)",
        "501",
        FINAL,
    ),
    "400 in text": (
        Answer(400, b"Invalid URL: cannot parse `web` to a `u32`"),
        RequestRefused,
        "my-sandbox answered 400 with text that is not JSON (42 bytes)",
        "400",
        FINAL,
    ),
    "422 in text": (
        Answer(422, b"missing field `signal`", "POST"),
        RequestRefused,
        "my-sandbox answered 422 with text that is not JSON (22 bytes)",
        "422",
        FINAL,
    ),
    "a body of nested brackets": (
        Answer(502, b"[" * 100_000),
        SandboxUnreachable,
        "my-sandbox answered 502 with JSON of another shape, or cut short (100000 bytes)",
        "502",
        PASSES,
    ),
    "fields of another kind": (
        Answer(400, {"error": {"a": 1}, "code": 7}),
        RequestRefused,
        "my-sandbox answered 400 7: {'a': 1}",
        "400 7",
        FINAL,
    ),
    "a secret in the reason": (
        Answer(400, {"error": "cannot start curl --token=hunter2 https://me:pw@x.example"}, "POST"),
        RequestRefused,
        "my-sandbox answered 400: cannot start curl --token=*** https://***@x.example",
        "400",
        FINAL,
    ),
}


@pytest.mark.parametrize(
    ("answer", "kind", "message", "label", "fate"), MEANINGS.values(), ids=MEANINGS
)
def test_an_answer_means(answer, kind, message, label, fate):
    found = fault(answer)

    assert type(found) is kind
    assert str(found) == message
    assert found.label == label
    assert (found.transient, found.delivered) == fate


def test_an_answer_that_is_neither_success_nor_error_is_not_called_a_redirect():
    assert "redirect" not in str(fault(Answer(206)))


DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("30", 30.0, id="seconds"),
        pytest.param(" 1.5 ", 1.5, id="part of a second"),
        pytest.param("0", 0.0, id="zero"),
        pytest.param("-5", 0.0, id="before now"),
        pytest.param("Sun, 06 Nov 1994 08:49:57 GMT", 20.0, id="date"),
        pytest.param("Sun, 06 Nov 1994 09:49:57 +0100", 20.0, id="date with a zone"),
        pytest.param("Sun, 06 Nov 1994 08:00:00 GMT", 0.0, id="date in the past"),
        pytest.param("soon", None, id="word"),
        pytest.param("", None, id="nothing"),
        pytest.param("inf", None, id="infinite"),
        pytest.param("nan", None, id="no number"),
        pytest.param("Sun, 99 Foo 1994 08:49:57 GMT", None, id="no date"),
        pytest.param("Sun, 06 Nov 1994 08:49:57 -0000", None, id="date of no zone"),
        pytest.param("Sun, 06 Nov 99999999999 08:49:37 GMT", None, id="date out of range"),
    ],
)
@pytest.mark.parametrize(
    "body",
    [{"error": "later"}, {"error": "(state: suspended)", "code": "SANDBOX_NOT_RUNNING"}],
    ids=["429", "suspended"],
)
def test_retry_after_is_read(body, value, seconds):
    answer = Answer(429, body, headers=(("Retry-After", value), ("Date", DATE)))

    assert fault(answer).retry_after == seconds


def test_a_date_to_retry_after_means_nothing_without_the_date_of_the_server():
    assert fault(Answer(503, headers=(("Retry-After", DATE),))).retry_after is None


def test_a_fault_that_says_no_retry_after_has_none():
    assert fault(Answer(503)).retry_after is None


def test_a_call_that_a_sandbox_does_not_have_is_named():
    fault = fault_of("POST /processes/41/restart", 404, {}, b"", ADDRESS)

    assert type(fault) is RequestRefused
    assert str(fault) == "my-sandbox has no POST /processes/41/restart (404)"


def test_a_secret_in_the_name_of_a_process_is_masked_in_a_call_that_a_sandbox_does_not_have():
    fault = fault_of("DELETE /processes/web%20--token%3Dabc", 405, {}, b"", ADDRESS)

    assert str(fault) == "my-sandbox has no DELETE /processes/web --token=*** (405)"


def test_the_words_of_a_rejection_are_shown():
    body = b"Failed to deserialize the JSON body: args: --token=abc\nmore"
    fault = fault_of(
        "POST /processes", 422, {"Content-Type": "text/plain; charset=utf-8"}, body, ADDRESS
    )

    assert str(fault) == (
        "my-sandbox answered 422: Failed to deserialize the JSON body: args: --token=***"
    )


def test_a_sandbox_that_does_not_exist_and_looks_like_local_suggests_it():
    address = Address("lcal", "https://lcal.sandbox.tensorlake.ai")
    body = b'{"error": "no", "code": "SANDBOX_NOT_FOUND"}'
    fault = fault_of("GET /processes", 404, {}, body, address)

    assert fault is not None
    assert fault.first_line == (
        "No sandbox lcal: it does not exist, or is not running (404 SANDBOX_NOT_FOUND); "
        "did you mean 'local'?"
    )
