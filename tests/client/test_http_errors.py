"""Test which error each response with an error status raises."""

import json

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.http_errors import error_of_response

ADDRESS = Address("my-sandbox", "https://x.example")


def fault(status, body=b"", call="GET /processes", address=ADDRESS, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return error_of_response(call, status, sent, content, address)


def coded(code, text="later"):
    return {"error": text, "code": code}


def not_running(text):
    return coded("SANDBOX_NOT_RUNNING", text)


# (transient, delivered)
FINAL, PASSES, NOT_SENT, FINAL_NOT_SENT = (False, True), (True, True), (True, False), (False, False)
REJECTED = (errors.AuthenticationFailed, FINAL)
NOT_FOUND = (errors.SandboxNotFound, FINAL)
OVER, WAITS = (errors.SandboxNotRunning, FINAL_NOT_SENT), (errors.SandboxNotRunning, NOT_SENT)
REFUSED = (errors.RequestRefused, FINAL)
UNSENT, UNKNOWN = (errors.SandboxUnreachable, NOT_SENT), (errors.SandboxUnreachable, PASSES)
IS, JSON = "Sandbox my-sandbox is", "unexpected or incomplete JSON"
SHARED_HOST = (
    "https://x.example is a shared host, not a sandbox (404 LIFECYCLE_PATH_NOT_FOUND); set it as "
    "the proxy URL, and pass the id of the sandbox as the target"
)
GONE = "Sandbox my-sandbox does not exist or is not running (404{})"
# The status, the body, the error, its message, and a label other than the status and the code.
# A message that begins with a colon or a space follows "my-sandbox answered" and the label.
GET = [
    (401, coded("UNAUTHORIZED", "no"), REJECTED, "my-sandbox rejected the API key (401 UNAUTHORIZED): no"),
    (401, {"message": "no"}, REJECTED, "my-sandbox rejected the API key (401): no"),
    (403, b"", REJECTED, "my-sandbox does not allow this call with the API key (403)"),
    (404, coded("SANDBOX_NOT_FOUND"), NOT_FOUND, GONE.format(" SANDBOX_NOT_FOUND")),
    (404, {"error": "Sandbox 'abc123' not found or not running"}, NOT_FOUND, GONE.format("")),
    (404, b"", NOT_FOUND, "No process API at https://x.example (404): is this the URL of a sandbox?"),
    (404, coded("LIFECYCLE_PATH_NOT_FOUND"), NOT_FOUND, SHARED_HOST),
    (409, {"sandbox_id": "a", "status": "terminated", "reason": "Idle"}, OVER, f"{IS} terminated (Idle)"),
    (409, {"sandbox_id": "a", "status": "failed", "termination_reason": "x"}, OVER, f"{IS} failed (x)"),
    (409, {"sandbox_id": "a", "status": "pending"}, WAITS, f"{IS} pending"),
    (400, not_running("(status: terminated)"), OVER, f"{IS} terminated (400 SANDBOX_NOT_RUNNING)", "400 terminated"),
    (400, not_running("(status: suspending)."), WAITS, f"{IS} suspending (400 SANDBOX_NOT_RUNNING)", "400 suspending"),
    (503, not_running("(state: Suspended)"), WAITS, f"{IS} suspended (503 SANDBOX_NOT_RUNNING)", "503 suspended"),
    (503, not_running("no"), WAITS, f"{IS} not running (503 SANDBOX_NOT_RUNNING)"),
    (404, coded("NOT_FOUND", "Process 42 not found"), REFUSED, ": Process 42 not found"),
    (405, b"", REFUSED, " with an empty response (0 bytes)"),
    (501, b"", REFUSED, " with an empty response (0 bytes)"),
    (400, b"Invalid URL", REFUSED, " with text that is not JSON (11 bytes)"),
    (400, coded(7, {"a": 1}), REFUSED, ": {'a': 1}"),
    (400, coded("SANDBOX_UPSTREAM_ERROR"), REFUSED, ": later"),
    (429, coded("TOO_MANY_SESSIONS"), UNSENT, ": later"),
    (503, coded("SANDBOX_NOT_READY"), UNSENT, ": later"),
    (503, coded("SANDBOX_UPSTREAM_ERROR"), UNSENT, ": later"),
    (503, coded("AUTH_SERVICE_UNAVAILABLE"), UNSENT, ": later"),
    (503, {"code": "SANDBOX_UNREACHABLE"}, UNSENT, f" with {JSON} (31 bytes)"),
    (500, {"error": "oops"}, UNKNOWN, ": oops"),
    (502, b"<html>", UNKNOWN, " with an HTML page (6 bytes)"),
    (502, b"[" * 100_000, UNKNOWN, f" with {JSON} (100000 bytes)"),
    (504, coded("READ_TIMEOUT"), UNKNOWN, ": later"),
]  # fmt: skip
POST = [
    (500, {"error": "Failed to spawn"}, REFUSED, ": Failed to spawn"),
    (400, {"error": "no --token=abc https://me:pw@x.example"}, REFUSED, ": no --token=*** https://***@x.example"),
    (500, coded("SANDBOX_UPSTREAM_ERROR"), UNSENT, ": later"),
    (500, b"", UNKNOWN, " with an empty response (0 bytes)"),
]  # fmt: skip
ROWS = [*(("GET", *row) for row in GET), *(("POST", *row) for row in POST)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}{row[4][:40]}")
def test_each_error_response_becomes_the_matching_exception(row):
    method, status, body, (kind, fate), message, *other_label = row
    code = body.get("code", "") if isinstance(body, dict) else ""
    label = other_label[0] if other_label else f"{status} {code}".strip()
    if message[0] in ": ":
        message = f"my-sandbox answered {label}{message}"

    found = fault(status, body, f"{method} /processes")

    assert (type(found), str(found), found.label) == (kind, message, label)
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


@pytest.mark.parametrize("value", [*SECONDS, *INVALID])
def test_retry_after_header_may_contain_seconds_or_a_date(value):
    assert fault(429, Retry_After=value, Date=DATE).retry_after == SECONDS.get(value)


@pytest.mark.parametrize("headers", [{"Retry_After": DATE}, {}])
def test_retry_delay_is_unknown_if_the_header_or_the_server_date_is_missing(headers):
    assert fault(503, **headers).retry_after is None


REJECTIONS = [
    ("POST /processes/41/restart", 404, b"", "has no POST /processes/41/restart (404)"),
    ("DELETE /processes/web%20--token%3Dabc", 405, b"", "has no DELETE /processes/web --token=*** (405)"),
    ("POST /processes", 422, b"not JSON: --token=abc\nmore", "answered 422: not JSON: --token=***"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "status", "body", "message"), REJECTIONS)
def test_error_from_a_rejected_call_names_the_call_and_masks_secrets(call, status, body, message):
    found = fault(status, body, call, Content_Type="text/plain; charset=utf-8")

    assert (type(found), str(found)) == (errors.RequestRefused, f"my-sandbox {message}")


def test_error_for_the_misspelt_sandbox_name_lcal_suggests_local():
    address = Address("lcal", "https://lcal.sandbox.tensorlake.ai")

    error = fault(404, coded("SANDBOX_NOT_FOUND"), address=address)
    assert error.first_line.endswith("(404 SANDBOX_NOT_FOUND); did you mean 'local'?")
