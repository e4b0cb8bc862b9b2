from unittest import mock

import pytest

from tests.client.conftest import serve  # noqa: F401 - for the tests in this folder
from tests.forked_runs import forked_runs


@pytest.fixture(scope="session")
def forks():
    with forked_runs() as forks:
        yield forks


@pytest.fixture
def no_jitter(monkeypatch):
    """Make the pauses between two calls depend on nothing random."""
    jitter = mock.Mock(uniform=mock.Mock(return_value=1.0))
    monkeypatch.setattr("pytest_tlsandbox.client.retry._jitter", jitter)
