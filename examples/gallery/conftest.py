import pytest
from front import Front


@pytest.fixture(scope="session")
def server(tlsandbox_local):
    front = Front(tlsandbox_local)
    yield front
    front.close()


@pytest.fixture
def front(server, tlsandbox_connect):
    """Return a server in front of the sandbox, whose ``spoil`` changes the answers."""
    yield server
    server.spoil = None
    tlsandbox_connect(server).list_processes()  # ends the outage


@pytest.fixture
def far(front, tlsandbox_connect):
    """Return the sandbox behind ``front``, with a baseline from the start of the test."""
    sandbox = tlsandbox_connect(front).from_now()
    yield sandbox
    front.spoil = None
    sandbox.kill_started()
