"""One world for all rows, and no proxy but ours."""

import pytest

from tests.client.conftest import no_proxy_in_the_environment  # noqa: F401 - a fixture

from .helpers import world


@pytest.fixture(scope="session")
def here():
    """Return an embedded sandbox with something in it."""
    with world() as running:
        yield running
