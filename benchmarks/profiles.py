"""Profiles of a poll and of a test: ``python -m benchmarks.profiles [guard]``.

``guard`` turns on all rules of the guard. The shares in ``README.md`` come from these profiles. A
profiler slows down Python code and no other code, so compare only shares.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.serving import serve
from pytest_tlsandbox.client.address import locate
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.redact import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

LINES = 25
TESTS = 300
GUARD = "--tlsandbox-guard=oom,crash,restart,unhealthy,leak"


def main() -> None:
    """Print the profiles."""
    for rows, polls in ((10, 2000), (10_000, 50)):
        with serve(rows) as served:
            transport = Transport(locate("local", served.url), Secret("test"), user_agent="profile")
            client = SandboxClient(transport)
            client.poll()
            _profile(f"a poll of {rows:,} processes, unchanged", client.poll, polls)
            served.change()

            def changed(
                client: SandboxClient = client, change: Callable[[], None] = served.change
            ) -> None:
                change()
                client.poll()

            _profile(f"a poll of {rows:,} processes, 1 % changed", changed, polls)
            client.close()
    with tempfile.TemporaryDirectory() as folder, serve(10) as served:
        Path(folder, "test_it.py").write_text(
            f"import pytest\n\n@pytest.mark.parametrize('n', range({TESTS}))\n"
            "def test_it(n, tlsandbox):\n    assert len(tlsandbox.list_processes()) == 10\n"
        )
        os.environ["TENSORLAKE_API_KEY"] = "profile-key"
        options = ["-q", "-p", "no:cacheprovider", "--tlsandbox", served.url, folder]
        if "guard" in sys.argv:
            options.append(GUARD)
        _profile(f"{TESTS} tests that list the processes", lambda: pytest.main(options), 1)


def _profile(title: str, function: Callable[[], object], times: int) -> None:
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(times):
        function()
    profile.disable()
    print(f"== {title}, {times} times")
    pstats.Stats(profile).sort_stats("tottime").print_stats(LINES)


if __name__ == "__main__":
    main()
