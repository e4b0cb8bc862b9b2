"""Many processes at once: a small form of ``benchmarks/local_bursts.py`` and ``local_scale.py``."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pytest_tlsandbox.local.server import start_local_sandbox

from .conftest import Api, is_gone, until

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (1, 2, 3, 6, 9, 11, 15)


@pytest.fixture
def alone() -> Iterator[Api]:
    with start_local_sandbox() as sandbox:
        api = Api(sandbox)
        yield api
        api.close()


def test_a_burst_loses_no_exit_status_and_leaves_no_zombie(alone: Api) -> None:
    scripts: dict[str, tuple[int | None, int | None]] = {
        f"exit {code}": (code, None) for code in range(256)
    }
    scripts |= {f"kill -{number} $$": (None, number) for number in SIGNALS}
    wanted = list(scripts.items()) * 3
    apis = [Api(alone.sandbox) for _ in range(3)]

    def start(number: int) -> tuple[int, int]:
        return apis[number % 3].start("sh", "-c", wanted[number][0]), number

    with ThreadPoolExecutor(3) as pool:
        started = list(pool.map(start, range(len(wanted))))

    def ended() -> Any:
        rows = alone.call("GET", "/processes").json()["processes"]
        return all(row["status"] != "running" for row in rows) and rows

    rows = until(ended)
    ends = {row["pid"]: (row["exit_code"], row["signal"]) for row in rows}
    assert ends == {pid: wanted[number][1] for pid, number in started}
    children = psutil.Process(alone.sandbox.pid).children(recursive=True)
    assert [child.pid for child in children] == []
    for api in apis:
        api.close()


def test_three_hundred_living_are_listed_without_an_error_and_all_end(alone: Api) -> None:
    pids = {alone.start("sleep", "600") for _ in range(300)}
    took = []
    for number in range(100):
        began = time.perf_counter()
        rows = alone.call("GET", "/processes").json()["processes"]
        took.append(time.perf_counter() - began)
        assert {row["pid"] for row in rows if row["status"] == "running"} == pids, number
    assert sorted(took)[50] < 0.02
    alone.sandbox.close()
    assert all(is_gone(pid) for pid in pids)
