"""One poll, compared with ``list_processes()`` of the official SDK."""

from __future__ import annotations

import statistics

from tensorlake.sandbox import Sandbox

from benchmarks.measuring import Result, Target, in_ms, median_ratio, side_by_side
from benchmarks.serving import serve
from pytest_tlsandbox.client.address import locate
from pytest_tlsandbox.client.api import ProcessLister, SandboxClient
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.redact import Secret

# By number of rows: the rounds, the rounds with --short, and the largest allowed ratio to the time of
# the SDK, for an unchanged list and for a list of which 1 % changed.
SIZES = {
    10: (2000, 600, 1.5, 2.0),
    1_000: (150, 50, 0.15, 0.4),
    10_000: (20, 7, 0.05, 0.4),
    100_000: (5, 0, 0.03, 0.4),
}


def measure(*, short: bool = False) -> list[Result]:
    """Time polls of lists of each size, unchanged and changed."""
    result = Result(
        "One poll",
        "Time of one poll on an open connection: the official SDK's `list_processes()` and this "
        "plugin. Medians; the ratio is the median of the ratios of consecutive calls. "
        '"First" is the poll of a list whose rows are all new.',
        ("processes", "list", "SDK", "plugin", "plugin / SDK"),
    )
    for rows, (rounds, in_short, unchanged, changed) in SIZES.items():
        if short and not in_short:
            continue
        _measure(result, rows, in_short if short else rounds, unchanged, changed)
    return [result]


def _measure(
    result: Result, rows: int, rounds: int, most_unchanged: float, most_changed: float
) -> None:
    with serve(rows) as (url, change):
        # The SDK connects to a sandbox on this machine in this way.
        sdk = Sandbox(identifier="local", proxy_url=url, api_key="test")
        transport = Transport(locate("local", url), Secret("test"))
        client = SandboxClient(transport)
        variants = {"SDK": sdk.list_processes, "plugin": client.poll}
        side_by_side(variants, 2)  # open the connections, fill the caches
        for kind, ours, before, most in (
            ("unchanged", client.poll, lambda: None, most_unchanged),
            ("1 % changed", client.poll, change, most_changed),
            ("first", lambda: ProcessLister(transport).poll(), lambda: None, None),
        ):
            count = rounds if most else min(50, 2 + rounds // 5)
            times = side_by_side({**variants, "plugin": ours}, count, before)
            ratio = median_ratio(times["plugin"], times["SDK"])
            medians = (in_ms(statistics.median(times[way])) for way in variants)
            result.rows.append((f"{rows:,}", kind, *medians, f"{ratio:.3g}"))
            if most is not None:
                result.targets.append(Target(f"{rows:,} processes, {kind}", ratio, most))
        client.close()
