"""The memory of one snapshot of many processes, and of a day of polls."""

from __future__ import annotations

import gc
import statistics
import tracemalloc
from typing import TYPE_CHECKING

from benchmarks.measuring import Result, Target
from benchmarks.serving import FIRST_START, Rows
from pytest_tlsandbox.client.list_cache import ListReader
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 100_000
DAY = 24 * 3600
PROCESSES, BURST, LIFE = 10_000, 20, 60
MB = 1e6


def measure(*, short: bool = False) -> list[Result]:
    """Count the used bytes; return nothing if ``short``, because no target is a ratio."""
    if short:
        return []
    result = Result(
        "Memory",
        "Used bytes, as counted by Python's allocator.",
        ("what", "used", "peak"),
    )
    body = Rows(ROWS).body()
    used = _of_a_snapshot(result, body)
    result.targets.append(Target(f"a snapshot of {ROWS:,} rows", used, 130, "MB"))
    used = _of_a_day(result)
    result.targets.append(Target(f"a day of polls of {PROCESSES:,} processes", used, 50, "MB"))
    return [result]


def _of_a_snapshot(result: Result, body: bytes) -> float:
    """Return the MB of a snapshot and of the data that is kept to read the next list quickly."""
    alone = _Count()
    snapshot = ListReader("benchmark").read(body)
    alone.stop()
    del snapshot
    kept = _Count()
    reader = ListReader("benchmark")
    snapshot = reader.read(
        bytes(bytearray(body))
    )  # a copy, because each response has separate bytes
    assert snapshot.find(snapshot[0].identity) is not None
    kept.stop()
    result.rows += [
        (f"snapshot of {ROWS:,} rows", alone.used, alone.peak),
        ("the same, with the body that was read and an index", kept.used, kept.peak),
    ]
    return kept.megabytes


def _of_a_day(result: Result) -> float:
    """Return the MB of history, timeline and last snapshot after a day of one poll per second."""
    count = _Count()
    reader, history = ListReader("benchmark"), History(lambda: 0.0)
    timeline = Timeline(0.0, history)
    last = b""
    for second, body in enumerate(_day()):
        last = body or last
        snapshot = reader.read(last)
        snapshot.begun = snapshot.ended = float(second)
        history.fold(snapshot)
        timeline.add(snapshot)
    count.stop()
    assert timeline.looks == DAY
    assert timeline.last is not None
    assert len(timeline.last) == PROCESSES
    changes = statistics.fmean(len(run.changes) for run in history.runs())
    result.rows.append(
        (
            f"history of {DAY:,} polls of {PROCESSES:,} processes, {changes:.0f} states each",
            count.used,
            count.peak,
        )
    )
    return count.megabytes


def _day() -> Iterator[bytes]:
    """Yield the list for each second of a day, or empty bytes if the list did not change.

    Processes start in bursts, run for a minute, and stay listed.
    """
    bursts = PROCESSES // BURST
    every = DAY // bursts
    rows: list[bytes] = []
    for second in range(DAY):
        burst, phase = divmod(second, every)
        if phase == 0 and burst < bursts:
            rows += [_row(burst * BURST + number, second, ended=False) for number in range(BURST)]
        elif phase == LIFE and burst < bursts:
            rows[-BURST:] = [
                _row(burst * BURST + number, second - LIFE, ended=True) for number in range(BURST)
            ]
        else:
            yield b""
            continue
        yield b'{"processes":[' + b",".join(rows) + b"]}"


def _row(number: int, start: int, *, ended: bool) -> bytes:
    begun = FIRST_START + start * 1000 + number
    status, code = ("exited", "0") if ended else ("running", "null")
    end = str(begun + LIFE * 1000) if ended else "null"
    return (
        f'{{"handle":{number + 1},"pid":{number + 1000},"status":"{status}","exit_code":{code},'
        f'"signal":null,"stdin_writable":false,"command":"python","args":["-m","worker",'
        f'"--shard={number}"],"started_at":{begun},"ended_at":{end}}}'
    ).encode()


class _Count:
    """Counts the bytes that are allocated from its creation until it is stopped."""

    def __init__(self) -> None:
        gc.collect()
        tracemalloc.start()

    def stop(self) -> None:
        """Count the bytes that are still used."""
        gc.collect()
        used, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.megabytes = used / MB
        self.used, self.peak = f"{used / MB:.1f} MB", f"{peak / MB:.1f} MB"
