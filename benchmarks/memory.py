"""Measure the memory for one snapshot of many processes, and for the polls of a day."""

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
    """Count the bytes in use; a short run returns nothing, because no figure is a ratio."""
    if short:
        return []
    result = Result(
        "Memory",
        "Bytes held, as Python's own allocator counts them.",
        ("what", "held", "at its highest"),
    )
    body = Rows(ROWS).body()
    held = _of_a_snapshot(result, body)
    result.targets.append(Target(f"a snapshot of {ROWS:,} rows", held, 130, "MB"))
    held = _of_a_day(result)
    result.targets.append(Target(f"a day of looks at {PROCESSES:,} processes", held, 50, "MB"))
    return [result]


def _of_a_snapshot(result: Result, body: bytes) -> float:
    """Return the bytes of a snapshot, including the data that makes reading the next list fast."""
    alone = _Count()
    snapshot = ListReader("benchmark").read(body)
    alone.stop()
    del snapshot
    kept = _Count()
    reader = ListReader("benchmark")
    snapshot = reader.read(bytes(bytearray(body)))  # a copy, like the bytes of a new answer
    assert snapshot.find(snapshot[0].identity) is not None
    kept.stop()
    result.rows += [
        (f"snapshot of {ROWS:,} rows", alone.held, alone.highest),
        ("the same, the list it was read from, and its index", kept.held, kept.highest),
    ]
    return kept.megabytes


def _of_a_day(result: Result) -> float:
    """Return the bytes of history, timeline and snapshot after a day of one poll per second."""
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
            f"history of {DAY:,} looks at {PROCESSES:,} processes, {changes:.0f} states each",
            count.held,
            count.highest,
        )
    )
    return count.megabytes


def _day() -> Iterator[bytes]:
    """Yield the list for each second of a day, or empty bytes if the list did not change.

    Processes start in bursts, live for a minute, and stay in the list.
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
    """Counts the bytes that are allocated after its creation, until it is stopped."""

    def __init__(self) -> None:
        gc.collect()
        tracemalloc.start()

    def stop(self) -> None:
        """Stop, and store the number of bytes in use."""
        gc.collect()
        held, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.megabytes = held / MB
        self.held, self.highest = f"{held / MB:.1f} MB", f"{highest / MB:.1f} MB"
