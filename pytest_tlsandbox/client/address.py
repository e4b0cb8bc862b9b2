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

    ``label`` is the name in messages. ``key`` is set if the object that was located has one.
    """

    label: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    key: Secret | None = None

    @property
    def loopback(self) -> bool:
        """The sandbox is on this machine."""
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
    """Return the address of a sandbox given by id, name, URL, or as an object (embedded or of the SDK).

    By id: ``https://<id>.sandbox.tensorlake.ai``, or through ``proxy_url`` the way the SDK does:
    on loopback with ``Host: <id>.local``, elsewhere with ``X-Tensorlake-Sandbox-Id``. A URL is used as it is.

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
    # Beyond loopback the SDK drops any path.
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

    The SDK has no public names for its routing; a test against the real one holds these.
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
    """Return a key without white space around it.

    Raises:
        InvalidSetting: it has characters that no header can carry, or would go over plain HTTP to
            another machine.

    """
    text = key.reveal().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidSetting(
            f"{source}: the API key must be ASCII text without spaces and line breaks, got one that is "
            "empty or has other characters; copy it again"
        )
    if address.url.startswith("http://") and not address.loopback:
        raise InvalidSetting(
            f"{address.label}: an API key is not sent over plain http, except to this machine; "
            "use https"
        )
    return Secret(text)


def suggest_local(label: str) -> str:
    """Return the end of a sentence that suggests ``local`` for a name that looks like it."""
    return "" if label == LOCAL else suggestion(label.lower(), [LOCAL], cutoff=0.8)
