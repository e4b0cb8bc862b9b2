"""Waits on the stream of the open-source daemon, which a fake plays in front of the embedded sandbox."""

import time

import pytest

from tests.client.servers import connected
from tests.fault_proxy import FaultProxy

from .streams import FakeOpenSourceDaemon

LONGEST_PAUSE = 1.0
"""Seconds between two polls of a wait with a stream (docs/explanation/cost.md)."""
CALL = 0.5
"""Seconds that a list call may take while the machine is busy."""
HELD_FOR = 3.0


def wait_behind(here, fake, script, **options):
    """Wait for the end of a program; return how many seconds late the wait was, and its requests."""
    with FaultProxy(here.local) as proxy, connected(proxy) as box:
        proxy.follow = fake
        job = here.direct.start_process("sh", ["-c", script], **options)
        row = box.wait_for_exit(job, exit_code=3, timeout=30)
        late = time.time() - row.ended_at.timestamp()
        assert f"GET /api/v1/processes/{job.pid}/stderr/follow" in proxy.requests
    return late, proxy.requests


def test_polling_detects_the_end_of_a_process_if_a_descendant_delays_the_eof_event(here):
    script = f"sleep {HELD_FOR} & sleep 0.6; exit 3"

    late, _ = wait_behind(here, FakeOpenSourceDaemon(HELD_FOR), script)

    assert late < LONGEST_PAUSE + CALL < HELD_FOR


@pytest.mark.parametrize("options", [{}, {"name": "job", "restart": {"policy": "never"}}])
def test_wait_polls_at_once_after_an_eof_event_from_the_open_source_daemon(here, options):
    late, requests = wait_behind(here, FakeOpenSourceDaemon(), "sleep 1; exit 3", **options)

    assert late < 0.3
    # By polling alone, a wait of one second makes about 19 list calls.
    assert len(requests) < 10
