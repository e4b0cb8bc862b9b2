"""Servers that play scripts, and transports to them; all are closed in the end."""

import os

import pytest

from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.redact import Secret
from tests.client.servers import Server, make_certificate

KEY = "tl_apiKey_sentinel-2f9c"


@pytest.fixture(autouse=True)
def no_proxy_in_the_environment(monkeypatch):
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name in (
            "NETRC",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
        ):
            monkeypatch.delenv(name)


@pytest.fixture
def serve():
    servers = []

    def start(*scripts, **options):
        # A script of one step needs no list.
        played = [[step] if isinstance(step, bytes) else step for step in scripts]
        servers.append(Server(*played, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def connect():
    transports = []

    def make(place, *, headers=None, key=KEY, **options):
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
def client(connect):
    return lambda *args, **options: SandboxClient(connect(*args, **options))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Certificate and key of 127.0.0.1, signed by itself."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


@pytest.fixture(scope="session")
def certificate_of_another(tmp_path_factory):
    """Certificate and key of another host, signed by itself."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "DNS:other.example")
