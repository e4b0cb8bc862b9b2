import pytest
from front import Front


@pytest.fixture
def front(tlsandbox_local):
    """Return what stands before the sandbox: its ``spoil`` changes the answers."""
    front = Front(tlsandbox_local)
    yield front
    front.spoil = None
    front.close()


@pytest.fixture
def far(front, tlsandbox_connect):
    """Return the sandbox as seen through ``front``, with the start of the test as its baseline."""
    sandbox = tlsandbox_connect(front).from_now()
    yield sandbox
    front.spoil = None
    sandbox.kill_started()
