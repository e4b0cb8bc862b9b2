"""Addresses of sandboxes: by id, URL or object, and the API keys that may be sent to them."""

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
# The spellings for which the official SDK changes the Host header.
_HOST_HEADER_HOSTS = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Address:
    """The base URL of one sandbox and the headers that route a request to it.

    Attributes:
        label: the name of the sandbox in messages.
        url: the base URL, without ``/api/v1``.
        headers: headers that each request needs to reach the sandbox.
        key: the API key of the object that was located; None if it has none.

    """

    label: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    key: Secret | None = None

    @property
    def loopback(self) -> bool:
        """Whether the sandbox is on this machine."""
        return is_loopback(self.url)

    def __hash__(self) -> int:
        return hash((self.url, *sorted(self.headers.items())))


def is_loopback(url: str) -> bool:
    """Return whether a URL leads to this machine, without a DNS lookup."""
    host = check_url(url, "URL")["host"].lower()
    return host in ("localhost", "[::1]") or (
        host.startswith("127.") and host.replace(".", "").isdigit()
    )


def locate(target: object, proxy_url: str | None = None) -> Address:
    """Return the address of a sandbox.

    Without a proxy, an id or a name becomes ``https://<id>.sandbox.tensorlake.ai``. A proxy gets
    the id in a header, as from the SDK: ``Host: <id>.local`` on loopback, otherwise
    ``X-Tensorlake-Sandbox-Id``. A URL is used unchanged.

    Args:
        target: the id, the name or the URL of the sandbox, or an object: a ``LocalSandbox`` or a
            sandbox of the SDK.
        proxy_url: the URL of the proxy through which sandboxes are reached by id or name.

    Returns:
        The address, with the key of the object if it has one.

    Raises:
        InvalidSetting: the text does not name a sandbox.
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
    # For other hosts, the SDK drops the path of the URL.
    url = f"{parts['scheme']}://{parts['host']}{parts['port'] or ''}"
    return {"url": url, "headers": {"X-Tensorlake-Sandbox-Id": identifier}}


def _locate_embedded(sandbox: Any) -> Address | None:
    key = getattr(sandbox, "api_key", None)
    if not isinstance(key, Secret):
        return None
    headers = {"Host": f"{sandbox.identifier}.local"}
    return Address(sandbox.identifier, sandbox.url, headers, key)


def _locate_sdk_object(sandbox: object) -> Address:
    """Read a ``tensorlake.sandbox`` Sandbox or AsyncSandbox, wrapped in a trace or not.

    The SDK has no public names for its routing; a test with the real SDK covers the private ones.

    Args:
        sandbox: the object of the SDK.

    Returns:
        The address, with the key of the object.

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
        key: the key; white space around it is ignored.
        address: the sandbox to which the key would be sent.
        source: where the key comes from, for the message.

    Returns:
        The key without white space around it.

    Raises:
        InvalidSetting: the key is empty or has characters that a header cannot carry, or it would
            go over plain HTTP to another machine.

    """
    text = key.reveal().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidSetting(
            f"{source}: the API key must be ASCII text without spaces and line breaks, got an empty "
            "key or one with other characters; copy the key again"
        )
    if address.url.startswith("http://") and not address.loopback:
        raise InvalidSetting(
            f"{address.label}: the API key must not be sent over plain http to another machine; "
            "use https"
        )
    return Secret(text)


def suggest_local(label: str) -> str:
    """Return "; did you mean 'local'?" for the name of a sandbox that looks like it, else ""."""
    return "" if label == LOCAL else suggestion(label.lower(), [LOCAL], cutoff=0.8)
