"""Servers that play scripts, and transports to them; all are closed in the end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.redact import Secret
from tests.client.servers import Server, make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "tl_apiKey_sentinel-2f9c"


@pytest.fixture(autouse=True)
def no_proxy_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name in (
            "NETRC",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
        ):
            monkeypatch.delenv(name)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*scripts: Any, **options: Any) -> Server:
        # A script of one step needs no list.
        played = [[step] if isinstance(step, bytes) else step for step in scripts]
        servers.append(Server(*played, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Transport]]:
    transports: list[Transport] = []

    def make(
        place: Server | Address | str,
        *,
        headers: dict[str, str] | None = None,
        key: str = KEY,
        **options: Any,
    ) -> Transport:
        if isinstance(place, Address):
            address = place
        else:
            url = place if isinstance(place, str) else place.url
            address = Address("my-sandbox", url, headers or {})
        transports.append(Transport(address, Secret(key), user_agent="test/1", **options))
        return transports[-1]

    yield make
    for transport in transports:
        transport.close()


@pytest.fixture
def client(connect: Callable[..., Transport]) -> Callable[..., SandboxClient]:
    return lambda *args, **options: SandboxClient(connect(*args, **options))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of 127.0.0.1, signed by itself."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


@pytest.fixture(scope="session")
def certificate_of_another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of another host, signed by itself."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "DNS:other.example")
