"""Find the address of a sandbox from an id, a URL or an object, and check the API key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.arguments.checks import suggestion
from pytest_tlsandbox.errors import InvalidArgument, InvalidSetting
from pytest_tlsandbox.redact import Secret
from pytest_tlsandbox.setting_parsers import check_target, check_url
from pytest_tlsandbox.settings import LOCAL

if TYPE_CHECKING:
    from collections.abc import Mapping

PUBLIC_HOST = "sandbox.tensorlake.ai"
# For these names of the loopback address, the official SDK sets the Host header.
_HOST_HEADER_HOSTS = ("localhost", "127.0.0.1")


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
    headers: Mapping[str, str] = field(default_factory=dict)
    key: Secret | None = None

    @property
    def loopback(self) -> bool:
        """Whether the sandbox runs on this machine."""
        return is_loopback(self.url)

    def __hash__(self) -> int:
        return hash((self.url, *sorted(self.headers.items())))


def is_loopback(url: str) -> bool:
    """Return whether the host of a URL is this machine. The check does not use DNS."""
    host = check_url(url, "URL")["host"].lower()
    return host in ("localhost", "[::1]") or (
        host.startswith("127.") and host.replace(".", "").isdigit()
    )


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
    if isinstance(target, Address):
        return target
    if not isinstance(target, str):
        return _locate_embedded(target) or _locate_sdk_object(target)
    check_target(target, "sandbox")
    if "://" in target:
        return Address(label=target.rstrip("/"), url=target.rstrip("/"))
    if proxy_url is None:
        return Address(label=target, url=f"https://{target}.{PUBLIC_HOST}")
    return Address(label=target, **_through_proxy(target, proxy_url))


def _through_proxy(identifier: str, proxy_url: str) -> dict[str, Any]:
    parts = check_url(proxy_url, "proxy URL")
    if parts["host"].lower() in _HOST_HEADER_HOSTS:
        return {"url": proxy_url.rstrip("/"), "headers": {"Host": f"{identifier}.local"}}
    # If the host is not loopback, the SDK drops the path of the URL.
    url = f"{parts['scheme']}://{parts['host']}{parts['port'] or ''}"
    return {"url": url, "headers": {"X-Tensorlake-Sandbox-Id": identifier}}


def _locate_embedded(sandbox: Any) -> Address | None:
    key = getattr(sandbox, "api_key", None)
    if not isinstance(key, Secret):
        return None
    headers = {"Host": f"{sandbox.identifier}.local"}
    return Address(sandbox.identifier, sandbox.url, headers, key)


def _locate_sdk_object(sandbox: object) -> Address:
    """Return the address of an SDK sandbox object, even if a tracer has wrapped the object.

    The object is a ``tensorlake.sandbox`` Sandbox or AsyncSandbox. The SDK does not publish how it
    routes requests, so this function reads private attributes. A test with the real SDK covers the
    private attributes.

    Args:
        sandbox: the object of the SDK.

    Returns:
        The address, including the API key of the object.

    Raises:
        InvalidArgument: the object is not a sandbox of the SDK.

    """
    proxy_url = getattr(sandbox, "_proxy_url", None)
    identifier = getattr(sandbox, "_sandbox_id", None) or getattr(sandbox, "_identifier", None)
    if not isinstance(proxy_url, str) or not isinstance(identifier, str):
        raise InvalidArgument(
            "a sandbox must be an id, a name, a URL or a connected tensorlake.sandbox.Sandbox, got a "
            f"value of type {type(sandbox).__name__}"
        )
    place = _through_proxy(identifier, proxy_url)
    for attribute, header in (
        ("_organization_id", "X-Forwarded-Organization-Id"),
        ("_project_id", "X-Forwarded-Project-Id"),
    ):
        if value := getattr(sandbox, attribute, None):
            place["headers"][header] = value
    key = getattr(sandbox, "_api_key", None)
    return Address(label=identifier, key=Secret(key) if key else None, **place)


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
