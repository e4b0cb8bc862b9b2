"""Test many processes at the same time; a small version of ``benchmarks/local.py``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from tests.contract.sandbox_api import until

from .conftest import is_gone, new_sandbox

SIGNALS = (1, 2, 3, 6, 9, 11, 15)


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_sandbox_reports_every_exit_status_and_leaves_no_zombies_after_a_burst_of_processes(
    times: int,
) -> None:
    scripts: dict[str, tuple[int | None, int | None]] = {
        f"exit {code}": (code, None) for code in range(256)
    }
    scripts |= {f"kill -{number} $$": (None, number) for number in SIGNALS}
    wanted = list(scripts.items()) * times
    with new_sandbox() as api, ThreadPoolExecutor(3) as pool:
        pids = list(pool.map(lambda case: api.start("sh", "-c", case[0]), wanted))

        def ended() -> Any:
            rows = api.rows()
            return all(row["status"] != "running" for row in rows) and rows

        ends = {row["pid"]: (row["exit_code"], row["signal"]) for row in until(ended)}
        assert ends == {pid: end for pid, (_, end) in zip(pids, wanted, strict=True)}
        assert psutil.Process(api.sandbox.pid).children(recursive=True) == []


@pytest.mark.parametrize("lists", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_sandbox_lists_300_running_processes_and_kills_them_when_it_closes(lists: int) -> None:
    with new_sandbox() as api:
        pids = {api.start("sleep", "600") for _ in range(300)}
        for number in range(lists):
            assert {row["pid"] for row in api.rows() if row["status"] == "running"} == pids, number
        api.sandbox.close()
    assert all(is_gone(pid) for pid in pids)
