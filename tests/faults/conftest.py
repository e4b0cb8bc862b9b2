"""One world for all rows, and no proxy but ours."""

import os

import pytest

from .helpers import world


@pytest.fixture(scope="session")
def here():
    """Return an embedded sandbox with something in it."""
    with world() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_proxy_in_the_environment(monkeypatch):
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name in ("NETRC", "REQUESTS_CA_BUNDLE"):
            monkeypatch.delenv(name)
