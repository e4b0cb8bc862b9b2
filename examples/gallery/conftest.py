import pytest
from front import Front


@pytest.fixture
def front(tlsandbox_local):
    """Return a server in front of the sandbox, whose ``spoil`` changes the answers."""
    front = Front(tlsandbox_local)
    yield front
    front.spoil = None
    front.close()


@pytest.fixture
def far(front, tlsandbox_connect):
    """Return the sandbox behind ``front``, with a baseline from the start of the test."""
    sandbox = tlsandbox_connect(front).from_now()
    yield sandbox
    front.spoil = None
    sandbox.kill_started()
