"""One world for all rows, and no proxy but ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from .helpers import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def here() -> Iterator[World]:
    """Return an embedded sandbox with something in it."""
    with world() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_proxy_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name in ("NETRC", "REQUESTS_CA_BUNDLE"):
            monkeypatch.delenv(name)
