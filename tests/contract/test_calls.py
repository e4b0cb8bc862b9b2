"""How the routes reject requests that they cannot serve."""

import pytest

from .facts import documented, measured
from .sandbox_api import JSON, NOT_JSON, OTHER_FIELDS, OTHER_TYPE, TEXT, refusal


@documented("doc", needs="key")
@pytest.mark.parametrize("given", [None, "Bearer wrong", "Basic wrong"])
@pytest.mark.parametrize("path", ["/processes", "/health"])
def test_request_without_a_valid_key_is_rejected(api, path, given):
    answer = api.call("GET", path, headers={"Authorization": given})
    assert answer.status_code in (401, 403)


@measured("old daemon")
@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("DELETE", ""), ("POST", "/signal"), ("POST", "/stdin"), ("POST", "/stdin/close")],
)  # fmt: skip
def test_request_for_an_unknown_pid_returns_404(api, method, rest):
    answer = api.call(method, f"/processes/999999{rest}", json={"signal": 15})
    assert refusal(answer) == (404, "Process 999999 not found", "NOT_FOUND")


@measured("old daemon")
@pytest.mark.parametrize("rest", ["stdout", "stderr", "output"])
def test_output_request_for_an_unknown_pid_returns_no_lines(api, rest):
    answer = api.call("GET", f"/processes/999999/{rest}")
    nothing = {"pid": 999999, "lines": [], "line_count": 0}
    assert (answer.status_code, answer.json()) == (200, nothing)


@measured("old daemon")
def test_request_for_a_pid_that_is_too_large_returns_400_in_plain_text(api):
    answer = api.call("GET", "/processes/4294967296")
    assert (answer.status_code, answer.headers["content-type"]) == (400, TEXT)


@measured("old daemon")
@pytest.mark.parametrize("path", ["/nope", "/processes/", "/processes/1/nope"])
def test_unknown_route_returns_404_without_a_body(api, path):
    answer = api.call("GET", path)
    assert (answer.status_code, answer.content) == (404, b"")


@measured("old daemon")
def test_unsupported_method_returns_405_without_a_body(api):
    answer = api.call("PUT", "/processes", json={})
    assert (answer.status_code, answer.content) == (405, b"")
    assert set(answer.headers["allow"].replace(" ", "").split(",")) >= {"GET", "POST"}


@measured("old daemon")
@pytest.mark.parametrize(
    ("kind", "body", "status", "text"),
    [
        (JSON, b"not json", 400, NOT_JSON),
        (JSON, b"{}", 422, OTHER_FIELDS),
        (JSON, b'{"command":1}', 422, OTHER_FIELDS),
        ("text/plain", b"{}", 415, OTHER_TYPE),
    ],
)
def test_unusable_body_of_a_start_request_is_rejected_in_plain_text(api, kind, body, status, text):
    answer = api.call("POST", "/processes", data=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (status, TEXT)
    assert answer.text.startswith(text)


@measured("old daemon")
def test_signal_request_without_a_signal_is_rejected_in_plain_text(api, sleeper):
    answer = api.send(sleeper, "signal", json={})
    assert (answer.status_code, answer.text[: len(OTHER_FIELDS)]) == (422, OTHER_FIELDS)
