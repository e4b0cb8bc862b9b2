"""Servers that play scripts, and transports to them; all are closed at the end of the test."""

import os
import socket
from types import SimpleNamespace

import pytest

from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.redact import Secret
from tests.client.servers import Server
from tests.fault_proxy.certificates import make_certificate

SETTINGS = ("NETRC", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
KEY = "tl_apiKey_sentinel-2f9c"


@pytest.fixture(autouse=True)
def no_proxy_in_the_environment(monkeypatch):
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name in SETTINGS:
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


@pytest.fixture
def unused_url():
    """Return a URL of this machine at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def made(tmp_path_factory, flaw):
    path = str(tmp_path_factory.mktemp("tls") / "certificate.pem")
    return SimpleNamespace(path=path, context=make_certificate(path, flaw))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return made(tmp_path_factory, "self-signed")


@pytest.fixture(scope="session")
def certificate_of_another(tmp_path_factory):
    return made(tmp_path_factory, "for another host")
