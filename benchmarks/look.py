"""Compare a list call with ``list_processes()`` of the official SDK and with reading raw bytes."""

from __future__ import annotations

import statistics

from tensorlake.sandbox import Sandbox

from benchmarks.measuring import Result, Target, in_ms, median_ratio, side_by_side
from benchmarks.serving import RawClient, serve
from pytest_tlsandbox.client.address import locate
from pytest_tlsandbox.client.api import ProcessLister, SandboxClient
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.redact import Secret

# For each number of rows: the rounds, the rounds of a short run, and the maximum share of the SDK's
# time for an unchanged list and for a list in which 1 % of the rows changed.
SIZES = {
    10: (2000, 600, 1.5, 2.0),
    1_000: (150, 50, 0.15, 0.4),
    10_000: (20, 7, 0.05, 0.4),
    100_000: (5, 0, 0.03, 0.4),
}


def measure(*, short: bool = False) -> list[Result]:
    """Measure list calls for lists of each size, both unchanged and changed."""
    result = Result(
        "One look",
        "Time of one look at a list, on a connection that is kept: the official SDK's "
        "`list_processes()`, this plugin, and a bare socket that takes the bytes and reads "
        "nothing. Medians; the ratio is the median of the ratios of calls made side by side. "
        '"First" is a look at a list of which no row has been seen.',
        ("processes", "list", "SDK", "plugin", "bare socket", "plugin / SDK"),
    )
    for rows, (rounds, in_short, unchanged, changed) in SIZES.items():
        if short and not in_short:
            continue
        _measure(result, rows, in_short if short else rounds, unchanged, changed)
    return [result]


def _measure(
    result: Result, rows: int, rounds: int, most_unchanged: float, most_changed: float
) -> None:
    with serve(rows) as served:
        # This is how the SDK is used with a sandbox on this machine.
        sdk = Sandbox(identifier="local", proxy_url=served.url, api_key="test")
        transport = Transport(
            locate("local", served.url), Secret("test"), user_agent="pytest-tlsandbox"
        )
        client, raw = SandboxClient(transport), RawClient(served.port)
        ways = {"SDK": sdk.list_processes, "plugin": client.poll, "bare socket": raw.get}
        side_by_side(ways, 2)  # to create connections and fill caches
        for kind, ours, before, most in (
            ("unchanged", client.poll, lambda: None, most_unchanged),
            ("1 % changed", client.poll, served.change, most_changed),
            ("first", lambda: ProcessLister(transport).poll(), lambda: None, None),
        ):
            times = side_by_side(
                {**ways, "plugin": ours},
                rounds if most else min(50, 2 + rounds // 5),
                before,
            )
            ratio = median_ratio(times["plugin"], times["SDK"])
            medians = (in_ms(statistics.median(times[way])) for way in ways)
            result.rows.append((f"{rows:,}", kind, *medians, f"{ratio:.3g}"))
            if most is not None:
                result.targets.append(Target(f"{rows:,} processes, {kind}", ratio, most))
        client.close()
        raw.close()
