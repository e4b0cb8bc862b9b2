from unittest import mock

import pytest

# For the tests in this folder.
from tests.client.conftest import serve  # noqa: F401 - a fixture
from tests.forked_runs import fork_pytest  # noqa: F401 - a fixture


@pytest.fixture
def no_jitter(monkeypatch):
    """Make the pauses between two calls depend on nothing random."""
    jitter = mock.Mock(uniform=mock.Mock(return_value=1.0))
    monkeypatch.setattr("pytest_tlsandbox.client.retry._jitter", jitter)
