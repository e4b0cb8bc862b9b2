from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.client.conftest import serve  # noqa: F401 - for the tests in this folder
from tests.forked_runs import ForkedRuns, forked_runs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkedRuns]:
    with forked_runs() as forks:
        yield forks
