"""Provide scripted servers and transports to these servers; each test closes both at its end."""

import contextlib
import os
from types import SimpleNamespace

import pytest

from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.redact import Secret
from tests.client.servers import Server, bind
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
    with contextlib.ExitStack() as servers:
        yield lambda *scripts, **options: servers.enter_context(
            contextlib.closing(Server(*scripts, **options))
        )


@pytest.fixture
def connect():
    """Return a function that creates a transport to a server, a URL or an address."""
    with contextlib.ExitStack() as transports:

        def make(place, *, key=KEY, **options):
            if not isinstance(place, Address):
                place = Address("my-sandbox", getattr(place, "url", place))
            transport = Transport(place, Secret(key), **options)
            return transports.enter_context(contextlib.closing(transport))

        yield make


@pytest.fixture
def client(connect):
    return lambda *args, **options: SandboxClient(connect(*args, **options))


@pytest.fixture
def unused_url():
    """Return a URL of a local port at which no server listens."""
    with bind() as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("tls") / "certificate.pem")
    return SimpleNamespace(path=path, context=make_certificate(path))
