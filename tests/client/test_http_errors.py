"""Test which error each response with an error status raises."""

import json

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.http_errors import error_of_response

ADDRESS = Address("my-sandbox", "https://x.example")
HTML = b"<html><h1>502 Bad Gateway</h1></html>"


def fault(status, body=b"", method="GET", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return error_of_response(f"{method} /processes", status, sent, content, ADDRESS)


def coded(code, text):
    return {"error": text, "code": code}


# (transient, delivered)
FINAL, PASSES, NOT_SENT, FINAL_NOT_SENT = (False, True), (True, True), (True, False), (False, False)
# The response, the error, (transient, delivered), the message, and a label other than the default.
MEANINGS = [
    ("GET", 301, b"", errors.ContractViolation, FINAL_NOT_SENT,
     "my-sandbox answered 301, a redirect; redirects are not followed, because the API key would be "
     "sent to the new address"),
    ("GET", 401, {"message": "invalid credentials", "code": "UNAUTHORIZED", "trace_id": "0a"}, errors.AuthenticationFailed, FINAL,
     "my-sandbox rejected the API key (401 UNAUTHORIZED): invalid credentials"),
    ("GET", 401, b"", errors.AuthenticationFailed, FINAL,
     "my-sandbox rejected the API key (401)"),
    ("GET", 403, {"error": "not yours", "code": "TL_FORBIDDEN"}, errors.AuthenticationFailed, FINAL,
     "my-sandbox does not allow this call with the API key (403 TL_FORBIDDEN): not yours"),
    ("GET", 403, HTML, errors.AuthenticationFailed, FINAL,
     "my-sandbox does not allow this call with the API key (403)"),
    ("GET", 404, coded("SANDBOX_NOT_FOUND", "no"), errors.SandboxNotFound, FINAL,
     "Sandbox my-sandbox does not exist or is not running (404 SANDBOX_NOT_FOUND)"),
    ("GET", 404, {"error": "Sandbox 'abc123' not found or not running"}, errors.SandboxNotFound, FINAL,
     "Sandbox my-sandbox does not exist or is not running (404)"),
    ("GET", 404, coded("NOT_FOUND", "Process 42 not found"), errors.RequestRefused, FINAL, "my-sandbox answered 404 NOT_FOUND: Process 42 not found"),
    ("GET", 404, b"", errors.SandboxNotFound, FINAL, "No process API at https://x.example (404): is this the URL of a sandbox?"),
    ("GET", 404, coded("LIFECYCLE_PATH_NOT_FOUND", "path not found"), errors.SandboxNotFound, FINAL,
     "https://x.example is a shared host, not a sandbox (404 LIFECYCLE_PATH_NOT_FOUND); set it as "
     "the proxy URL, and pass the id of the sandbox as the target"),
    ("GET", 405, b"", errors.RequestRefused, FINAL, "my-sandbox answered 405 with an empty response (0 bytes)"),
    ("GET", 409, {"sandbox_id": "abc", "status": "terminated", "reason": "Timeout"}, errors.SandboxNotRunning, FINAL_NOT_SENT,
     "Sandbox my-sandbox is terminated (Timeout)"),
    ("GET", 409, {"sandbox_id": "abc", "status": "failed", "termination_reason": "no_capacity"}, errors.SandboxNotRunning, FINAL_NOT_SENT,
     "Sandbox my-sandbox is failed (no_capacity)"),
    ("GET", 409, {"sandbox_id": "abc", "status": "pending"}, errors.SandboxNotRunning, NOT_SENT, "Sandbox my-sandbox is pending"),
    ("GET", 400, coded("SANDBOX_NOT_RUNNING", "Sandbox 'abc' is not running (status: suspending)."), errors.SandboxNotRunning, NOT_SENT,
     "Sandbox my-sandbox is suspending (400 SANDBOX_NOT_RUNNING)", "400 suspending"),
    ("GET", 503, coded("SANDBOX_NOT_RUNNING", "Sandbox not running (state: Suspended)"), errors.SandboxNotRunning, NOT_SENT,
     "Sandbox my-sandbox is suspended (503 SANDBOX_NOT_RUNNING)", "503 suspended"),
    ("GET", 400, coded("SANDBOX_NOT_RUNNING", "no (status: terminated)"), errors.SandboxNotRunning, FINAL_NOT_SENT,
     "Sandbox my-sandbox is terminated (400 SANDBOX_NOT_RUNNING)", "400 terminated"),
    ("GET", 503, coded("SANDBOX_NOT_RUNNING", "Sandbox not running"), errors.SandboxNotRunning, NOT_SENT, "Sandbox my-sandbox is not running (503 SANDBOX_NOT_RUNNING)"),
    ("GET", 429, coded("TOO_MANY_SESSIONS", "slow down"), errors.SandboxUnreachable, NOT_SENT, "my-sandbox answered 429 TOO_MANY_SESSIONS: slow down"),
    ("GET", 500, {"error": "oops"}, errors.SandboxUnreachable, PASSES, "my-sandbox answered 500: oops"),
    ("GET", 502, HTML, errors.SandboxUnreachable, PASSES, "my-sandbox answered 502 with an HTML page (37 bytes)"),
    ("GET", 503, coded("SANDBOX_NOT_READY", "sandbox is not ready"), errors.SandboxUnreachable, NOT_SENT,
     "my-sandbox answered 503 SANDBOX_NOT_READY: sandbox is not ready"),
    ("GET", 503, {"code": "SANDBOX_UNREACHABLE"}, errors.SandboxUnreachable, NOT_SENT,
     "my-sandbox answered 503 SANDBOX_UNREACHABLE with unexpected or incomplete JSON "
     "(31 bytes)"),
    ("GET", 503, coded("AUTH_SERVICE_UNAVAILABLE", "auth is down"), errors.SandboxUnreachable, NOT_SENT,
     "my-sandbox answered 503 AUTH_SERVICE_UNAVAILABLE: auth is down"),
    ("GET", 503, coded("SANDBOX_UPSTREAM_ERROR", "later"), errors.SandboxUnreachable, NOT_SENT, "my-sandbox answered 503 SANDBOX_UPSTREAM_ERROR: later"),
    ("GET", 400, coded("SANDBOX_UPSTREAM_ERROR", "bad name"), errors.RequestRefused, FINAL, "my-sandbox answered 400 SANDBOX_UPSTREAM_ERROR: bad name"),
    ("GET", 504, coded("READ_TIMEOUT", "late"), errors.SandboxUnreachable, PASSES, "my-sandbox answered 504 READ_TIMEOUT: late"),
    ("GET", 501, b"", errors.RequestRefused, FINAL, "my-sandbox answered 501 with an empty response (0 bytes)"),
    ("GET", 400, b"Invalid URL: cannot parse `web` to a `u32`", errors.RequestRefused, FINAL, "my-sandbox answered 400 with text that is not JSON (42 bytes)"),
    ("GET", 502, b"[" * 100_000, errors.SandboxUnreachable, PASSES, "my-sandbox answered 502 with unexpected or incomplete JSON (100000 bytes)"),
    ("GET", 400, {"error": {"a": 1}, "code": 7}, errors.RequestRefused, FINAL, "my-sandbox answered 400 7: {'a': 1}"),
    ("POST", 500, {"error": "Failed to spawn process"}, errors.RequestRefused, FINAL, "my-sandbox answered 500: Failed to spawn process"),
    ("POST", 500, coded("SANDBOX_UPSTREAM_ERROR", "later"), errors.SandboxUnreachable, NOT_SENT, "my-sandbox answered 500 SANDBOX_UPSTREAM_ERROR: later"),
    ("POST", 500, b"", errors.SandboxUnreachable, PASSES, "my-sandbox answered 500 with an empty response (0 bytes)"),
    ("POST", 400, {"error": "cannot start curl --token=hunter2 https://me:pw@x.example"}, errors.RequestRefused, FINAL,
     "my-sandbox answered 400: cannot start curl --token=*** https://***@x.example"),
]  # fmt: skip


@pytest.mark.parametrize("row", MEANINGS, ids=[f"{row[0]} {row[5][:40]}" for row in MEANINGS])
def test_each_error_response_becomes_the_matching_exception(row):
    method, status, body, kind, fate, message, *label = row
    code = body.get("code", "") if isinstance(body, dict) else ""

    found = fault(status, body, method)

    assert (type(found), str(found)) == (kind, message)
    assert found.label == (label[0] if label else f"{status} {code}".strip())
    assert (found.transient, found.delivered) == fate


DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
SECONDS = {
    "30": 30.0, " 1.5 ": 1.5, "0": 0.0, "-5": 0.0,
    "Sun, 06 Nov 1994 08:49:57 GMT": 20.0,
    "Sun, 06 Nov 1994 09:49:57 +0100": 20.0,
    "Sun, 06 Nov 1994 08:00:00 GMT": 0.0,
}  # fmt: skip
INVALID = [
    "soon", "", "inf", "nan", "Sun, 99 Foo 1994 08:49:57 GMT",
    "Sun, 06 Nov 1994 08:49:57 -0000", "Sun, 06 Nov 99999999999 08:49:37 GMT",
]  # fmt: skip
SUSPENDED = coded("SANDBOX_NOT_RUNNING", "(state: suspended)")


@pytest.mark.parametrize("value", [*SECONDS, *INVALID])
@pytest.mark.parametrize("body", [{"error": "later"}, SUSPENDED], ids=["429", "suspended"])
def test_retry_after_header_may_contain_seconds_or_a_date(body, value):
    assert fault(429, body, Retry_After=value, Date=DATE).retry_after == SECONDS.get(value)


@pytest.mark.parametrize("headers", [{"Retry_After": DATE}, {}])
def test_retry_delay_is_unknown_if_the_header_or_the_server_date_is_missing(headers):
    assert fault(503, **headers).retry_after is None


TEXT = {"Content-Type": "text/plain; charset=utf-8"}
REJECTION = b"Failed to deserialize the JSON body: args: --token=abc\nmore"


REJECTED = [
    ("POST /processes/41/restart", 404, {}, b"", "has no POST /processes/41/restart (404)"),
    ("DELETE /processes/web%20--token%3Dabc", 405, {}, b"",
     "has no DELETE /processes/web --token=*** (405)"),
    ("POST /processes", 422, TEXT, REJECTION,
     "answered 422: Failed to deserialize the JSON body: args: --token=***"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "status", "headers", "body", "message"), REJECTED)
def test_error_from_a_rejected_call_names_the_call_and_masks_secrets(
    call, status, headers, body, message
):
    found = error_of_response(call, status, headers, body, ADDRESS)

    assert (type(found), str(found)) == (errors.RequestRefused, f"my-sandbox {message}")


def test_error_for_the_misspelt_sandbox_name_lcal_suggests_local():
    address = Address("lcal", "https://lcal.sandbox.tensorlake.ai")
    body = json.dumps(coded("SANDBOX_NOT_FOUND", "no")).encode()

    assert error_of_response("GET /processes", 404, {}, body, address).first_line == (
        "Sandbox lcal does not exist or is not running (404 SANDBOX_NOT_FOUND); "
        "did you mean 'local'?"
    )
