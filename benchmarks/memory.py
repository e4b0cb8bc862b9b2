"""The memory of one snapshot of many processes, and of a day of polls."""

from __future__ import annotations

import gc
import statistics
import tracemalloc
from collections.abc import Iterator

from benchmarks.measuring import Result, Target
from benchmarks.serving import FIRST_START, Rows, body_of, ended, text_of, worker
from pytest_tlsandbox.client.list_cache import ListReader
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.timeline import Timeline
from pytest_tlsandbox.testing import row

ROWS = 100_000
DAY = 24 * 3600
PROCESSES, BURST, LIFE = 10_000, 20, 60
MB = 1e6


def measure() -> list[Result]:
    """Count the used bytes."""
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
    # A copy, because each response has separate bytes.
    snapshot = reader.read(bytes(bytearray(body)))
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
    what = f"history of {DAY:,} polls of {PROCESSES:,} processes, {changes:.0f} states each"
    result.rows.append((what, count.used, count.peak))
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
        changes = burst < bursts and phase in (0, LIFE)
        if changes:
            numbers = range(burst * BURST, (burst + 1) * BURST)
            rows[numbers.start :] = [_row(number, second, over=phase == LIFE) for number in numbers]
        yield body_of(rows) if changes else b""


def _row(number: int, second: int, *, over: bool) -> bytes:
    start = FIRST_START + (second - LIFE * over) * 1000 + number
    end = ended(start + LIFE * 1000) if over else {}
    return text_of(row(number + 1000, args=worker(number), started_at=start, **end))


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
