"""Waits on the stream of a fake of the open-source daemon, in front of the embedded sandbox."""

import time
from unittest import mock

from pytest_tlsandbox.local.sandbox import start_local_sandbox
from tests.client.servers import connected
from tests.fakes.changed_daemons import PIPE_GRACE, OldDaemon

LONGEST_PAUSE = 1.0
"""Seconds between two polls of a wait with a stream (docs/explanation/cost.md)."""
CALL = 0.5
"""Seconds that a list call may take while the machine is busy."""


def wait_for_end(script):
    """Wait for the end of a program; return how many seconds late the wait was, and its polls."""
    polls = []
    with start_local_sandbox() as local, OldDaemon(local) as daemon, connected(daemon) as box:
        box._client.observers.append(mock.Mock(call_succeeded=polls.append))
        row = box.wait_for_exit(box.start_process("sh", ["-c", script]), exit_code=3, timeout=30)
        return time.time() - row.ended_at.timestamp(), len(polls)


def test_polling_detects_the_end_of_a_process_if_a_descendant_delays_the_eof_event():
    late, _ = wait_for_end("sleep 3 & sleep 0.3; exit 3")

    assert late < LONGEST_PAUSE + CALL < PIPE_GRACE


def test_wait_polls_at_once_after_an_eof_event_from_the_open_source_daemon():
    late, polls = wait_for_end("sleep 1; exit 3")

    assert late < 0.3
    # By polling alone, a wait of one second makes about 19 list calls.
    assert polls < 10
