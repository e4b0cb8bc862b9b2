"""Find the address of a sandbox from an id, a URL or an object, and check the API key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_tlsandbox.arguments import suggestion
from pytest_tlsandbox.errors import InvalidArgument, InvalidSetting
from pytest_tlsandbox.redact import Secret
from pytest_tlsandbox.setting_parsers import check_target, check_url
from pytest_tlsandbox.settings import LOCAL


@dataclass(frozen=True)
class Address:
    """The base URL of one sandbox and the headers that route a request to it.

    Attributes:
        label: the name of the sandbox, for messages.
        url: the base URL, without ``/api/v1``.
        headers: headers that each request needs to reach the sandbox.
        key: the API key of the object that represents the sandbox; None if the object does not
            contain a key.

    """

    label: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    key: Secret | None = None

    @property
    def loopback(self) -> bool:
        """Whether the sandbox runs on this machine. The check does not use DNS."""
        host = check_url(self.url, "URL")["host"].lower()
        is_number = host.replace(".", "").isdigit()
        return host in ("localhost", "[::1]") or (host.startswith("127.") and is_number)


def locate(target: object, proxy_url: str | None = None) -> Address:
    """Return the address of a sandbox.

    Without a proxy, an id or a name becomes ``https://<id>.sandbox.tensorlake.ai``. With a proxy,
    each request contains the id in the same header that the SDK uses. The header is
    ``Host: <id>.local`` if the proxy is on loopback, and ``X-Tensorlake-Sandbox-Id`` otherwise. A
    URL is used unchanged.

    Args:
        target: the id, the name or the URL of the sandbox, or an object (a ``LocalSandbox`` or a
            sandbox of the SDK).
        proxy_url: the URL of the proxy through which sandboxes are reached by id or name.

    Returns:
        The address. If the target is an object with an API key, the address includes this key.

    Raises:
        InvalidSetting: the text is not the id, the name or the URL of a sandbox.
        InvalidArgument: the object is not a sandbox.

    """
    if not isinstance(target, str):
        return _locate_object(target)
    check_target(target, "sandbox")
    if "://" in target:
        return Address(label=target.rstrip("/"), url=target.rstrip("/"))
    if proxy_url is None:
        return Address(label=target, url=f"https://{target}.sandbox.tensorlake.ai")
    return _through_proxy(target, proxy_url)


def _through_proxy(identifier: str, proxy_url: str, key: Secret | None = None) -> Address:
    parts = check_url(proxy_url, "proxy URL")
    # For these names of the loopback address, the official SDK sets the Host header.
    if parts["host"].lower() in ("localhost", "127.0.0.1"):
        return Address(identifier, proxy_url.rstrip("/"), {"Host": f"{identifier}.local"}, key)
    # If the host is not loopback, the SDK drops the path of the URL.
    url = f"{parts['scheme']}://{parts['host']}{parts['port'] or ''}"
    return Address(identifier, url, {"X-Tensorlake-Sandbox-Id": identifier}, key)


def _locate_object(sandbox: Any) -> Address:
    """Return the address of a sandbox object, even if a tracer has wrapped the object.

    The object is a ``LocalSandbox``, or a ``tensorlake.sandbox`` Sandbox or AsyncSandbox. The SDK
    does not publish how it routes requests, so this function reads private attributes. A test with
    the real SDK covers the private attributes.

    Args:
        sandbox: the object.

    Returns:
        The address, including the API key of the object.

    Raises:
        InvalidArgument: the object is not a sandbox.

    """
    key = getattr(sandbox, "api_key", None)
    if isinstance(key, Secret):
        return _through_proxy(sandbox.identifier, sandbox.url, key)
    proxy_url = getattr(sandbox, "_proxy_url", None)
    identifier = getattr(sandbox, "_sandbox_id", None) or getattr(sandbox, "_identifier", None)
    if not isinstance(proxy_url, str) or not isinstance(identifier, str):
        raise InvalidArgument(
            "a sandbox must be an id, a name, a URL or a connected tensorlake.sandbox.Sandbox, got a "
            f"value of type {type(sandbox).__name__}"
        )
    key = getattr(sandbox, "_api_key", None)
    address = _through_proxy(identifier, proxy_url, Secret(key) if key else None)
    scope = {
        "X-Forwarded-Organization-Id": getattr(sandbox, "_organization_id", None),
        "X-Forwarded-Project-Id": getattr(sandbox, "_project_id", None),
    }
    given = {header: value for header, value in scope.items() if value}
    return replace(address, headers={**address.headers, **given})


def check_key(key: Secret, address: Address, source: str) -> Secret:
    """Check an API key before it is used.

    Args:
        key: the key; white space around the key is ignored.
        address: the sandbox to which the key would be sent.
        source: the source of the key, for the error message.

    Returns:
        The key without leading and trailing white space.

    Raises:
        InvalidSetting: the key is empty or contains characters that a header cannot contain, or the
            key would be sent over plain HTTP to another machine.

    """
    text = key.reveal().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidSetting(
            f"{source}: the API key must be ASCII text without spaces or line breaks, got a key that is "
            "empty or contains other characters; copy the key again"
        )
    if address.url.startswith("http://") and not address.loopback:
        raise InvalidSetting(
            f"{address.label}: the API key must not be sent over plain http to another machine; "
            "use https"
        )
    return Secret(text)


def suggest_local(label: str) -> str:
    """Return the hint "; did you mean 'local'?", or "" if the name is not similar to "local"."""
    return "" if label == LOCAL else suggestion(label.lower(), [LOCAL], cutoff=0.8)
