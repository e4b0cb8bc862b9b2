"""Read, fold and check a list of managed processes, of which 1 % were restarted."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from benchmarks.measuring import Result, Target
from benchmarks.serving import FIRST_START, body_of, text_of, worker
from pytest_tlsandbox.client.list_cache import ListReader
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.testing import row
from pytest_tlsandbox.waiting.conditions.absence import OOM, NoIncident
from tests.rows import managed

ROWS, RESTARTED = 10_000, 100
LISTS, IN_SHORT = 30, 10
MOST_MS = 30


def measure(*, short: bool = False) -> list[Result]:
    """Read, record and check a series of lists."""
    result = Result(
        "A list of managed processes",
        f"Processor time for a list of {ROWS:,} managed processes, of which {RESTARTED} were "
        "restarted since the previous list; medians.",
        ("read", "fold", "`assert_no_oom()`", "in all"),
    )
    reader, history = ListReader("benchmark"), History(time.monotonic)
    steps = []
    baseline = None
    for number, body in enumerate(_lists(IN_SHORT if short else LISTS)):
        start = time.process_time()
        snapshot = reader.read(body)
        read = time.process_time()
        snapshot.begun = snapshot.ended = float(number)
        history.fold(snapshot)
        folded = time.process_time()
        baseline = baseline or snapshot
        NoIncident((OOM,), history, baseline=baseline).evaluate(snapshot)
        end = time.process_time()
        steps.append((read - start, folded - read, end - folded, end - start))
    # The history begins with the first list; the second one turns all its rows into runs.
    medians = [statistics.median(times) * 1000 for times in zip(*steps[2:], strict=True)]
    result.rows.append([f"{median:.1f} ms" for median in medians])
    result.targets.append(Target(f"{ROWS:,} managed processes", medians[-1], MOST_MS, "ms"))
    return [result]


def _lists(count: int) -> Iterator[bytes]:
    rows = [_row(number, number, 0) for number in range(ROWS)]
    yield body_of(rows)
    for number in range(count):
        for restarted in range(number * RESTARTED, (number + 1) * RESTARTED):
            place = restarted % ROWS
            rows[place] = _row(place, ROWS + restarted, 1 + restarted // ROWS)
        yield body_of(rows)


def _row(place: int, number: int, restarts: int) -> bytes:
    start = FIRST_START + number * 10
    last = {"exit_code": 1, "signal": None, "oom_killed": False, "ended_at": start - 5}
    supervisor = managed(
        f"worker-{place}", restart_count=restarts, last_exit=last if restarts else None
    )
    return text_of(row(1000 + number, args=worker(place), started_at=start, managed=supervisor))
