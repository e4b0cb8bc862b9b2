"""Convert a response with an error status to one of this package's errors.

Error bodies have different formats (api-notes, "Errors"). The code in the body determines the
error. If the body contains no code, the status determines the error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.address import Address, suggest_local
from pytest_tlsandbox.client.response_bodies import describe_body, json_object
from pytest_tlsandbox.redact import mask_text

# The proxy answers with these codes if it did not forward the request.
_NEVER_FORWARDED = (
    "AUTH_SERVICE_UNAVAILABLE",
    "SANDBOX_NOT_READY",
    "SANDBOX_UNREACHABLE",
    "SANDBOX_UPSTREAM_ERROR",
)
_LONGEST_REASON = 300
_KEY_ERRORS = {401: "rejected the API key", 403: "does not allow this call with the API key"}
_TRANSIENT_STATUSES = (429, 500, 502, 503, 504)
_OVER = ("terminated", "failed")
_STATE = re.compile(r"\((?:status|state):\s*(\w+)\)", re.IGNORECASE)
_SANDBOX_GONE = re.compile(r"sandbox\s+'[^']*'\s+not found", re.IGNORECASE)


def error_of_response(
    call: str, status: int, headers: Mapping[str, str], body: bytes, address: Address
) -> errors.InfrastructureError:
    """Return the error that a response reports.

    Args:
        call: the method and the path of the request, such as "GET /processes".
        status: the status of the response, at least 300.
        headers: the headers of the response.
        body: the body of the response.
        address: the address of the sandbox.

    Returns:
        The error.

    """
    if status < 400:
        message = (
            f"{address.label} answered {status}, a redirect; redirects are not followed, because the API "
            "key would be sent to the new address"
        )
        return errors.ContractViolation(message, label=str(status), delivered=False)
    fields = json_object(body)
    code = str(fields.get("code") or "")
    text = str(fields.get("error") or fields.get("message") or "")
    label = f"{status} {code}".strip()
    if not fields and headers.get("Content-Type", "").startswith("text/plain"):
        # If the framework of a daemon rejects a request body, it answers in plain text.
        text = body[:_LONGEST_REASON].decode(errors="replace").partition("\n")[0]
    said = f": {mask_text(text)}" if text else ""
    if what := _KEY_ERRORS.get(status):
        return errors.AuthenticationFailed(f"{address.label} {what} ({label}){said}", label=label)
    if status in (404, 405) and not body and call != "GET /processes":
        shown = mask_text(unquote(call))
        return errors.RequestRefused(f"{address.label} has no {shown} ({status})", label=label)
    fault = _lifecycle(status, fields, code, text, label, address)
    if fault is None:
        message = f"{address.label} answered {label}{said or ' with ' + describe_body(body)}"
        # If the daemon rejects a call, it answers 500 with a reason, but without a code.
        refusal = status == 500 and not call.startswith("GET ") and "error" in fields and not code
        if refusal or status not in _TRANSIENT_STATUSES:
            return errors.RequestRefused(message, label=label)
        delivered = status != 429 and code not in _NEVER_FORWARDED
        fault = errors.SandboxUnreachable(message, label=label, transient=True, delivered=delivered)
    fault.retry_after = _retry_after(headers)
    return fault


def _lifecycle(
    status: int, fields: dict[str, Any], code: str, text: str, label: str, address: Address
) -> errors.InfrastructureError | None:
    """Return an error if the response is about the sandbox itself and not about a process."""
    if code == "LIFECYCLE_PATH_NOT_FOUND":
        return errors.SandboxNotFound(
            f"{address.url} is a shared host, not a sandbox ({label}); set it as the proxy URL, and "
            "pass the id of the sandbox as the target",
            label=label,
        )
    if status == 404 and (code == "SANDBOX_NOT_FOUND" or _SANDBOX_GONE.search(text)):
        message = f"Sandbox {address.label} does not exist or is not running ({label})"
        return errors.SandboxNotFound(message + suggest_local(address.label), label=label)
    if status == 404 and not fields:
        message = f"No process API at {address.url} (404): is this the URL of a sandbox?"
        return errors.SandboxNotFound(message, label=label)
    if "sandbox_id" in fields and isinstance(fields.get("status"), str):
        state = fields["status"]
        reason = fields.get("reason") or fields.get("termination_reason")
        shown = f"{state} ({mask_text(str(reason))})" if reason else state
    elif code == "SANDBOX_NOT_RUNNING":
        match = _STATE.search(text)
        state = match[1].lower() if match else ""
        shown = f"{state or 'not running'} ({label})"
        label = f"{status} {state or code}"
    else:
        return None
    message, transient = f"Sandbox {address.label} is {shown}", state.lower() not in _OVER
    return errors.SandboxNotRunning(message, label=label, transient=transient, delivered=False)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the value of ``Retry-After`` in seconds, or None for an invalid value.

    A date is compared with the server's ``Date`` header, because this machine's clock may be
    wrong or frozen.
    """
    text = headers.get("Retry-After", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            then = parsedate_to_datetime(text)
            seconds = (then - parsedate_to_datetime(headers["Date"])).total_seconds()
        except (KeyError, OverflowError, TypeError, ValueError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
