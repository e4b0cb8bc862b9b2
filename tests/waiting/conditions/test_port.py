"""``wait_for_port``: each poll lists the processes and probes the port."""

import pytest

from pytest_tlsandbox import errors
from tests.rows import T0, ended, managed, raw
from tests.support import failure, polls, result_of, unreachable
from tests.support import silent_box as box_of

pytestmark = pytest.mark.usefixtures("no_jitter")

SERVER, EXITED = raw(77, args=("server.py",)), raw(77, args=("server.py",), **ended(3))
FIRST = raw(77, "web", (), managed=managed("web"))
BACKING_OFF = raw(77, "web", (), **ended(1), managed=managed("web", "backing_off"))
OTHERS = [raw(100 + number, command="idle") for number in range(200)]
OOM = {"signal": 9, "oom_killed": True, "ended_at": T0 + 9000}
AGAIN = managed("web", restart_count=1, last_exit=OOM)
SECOND = raw(9, "web", (), started_at=T0 + 10_000, managed=AGAIN)


CLOSED, WANTED = {0: "closed"}, "wanted connections on port 8080"
TAKEN = "UnexpectedExit: Exited 3 after 9 s: server.py; another process uses port 8080"
# For each wait for port 8080: what is listed, the states of the port, the result, and when it ends.
# fmt: off
RESULTS = [
    ([SERVER], {0: "open"}, "pid 77", 0),
    ([SERVER], {0: "closed", 20: "open"}, "pid 77", 20),
    ([*OTHERS, SERVER], {0: "closed", 5: "open"}, "pid 77", 5),
    # The list, or the tunnel, is unavailable for some time.
    ({0: [SERVER], 1: unreachable(), 4: [SERVER]}, {0: "closed", 8: "open"}, "pid 77", 8),
    ([SERVER], {0: unreachable(), 3: "open"}, "pid 77", 3),
    ({0: [SERVER], 2: [EXITED]}, CLOSED,
     f"UnexpectedExit: Exited 3 after 9 s, {WANTED}: server.py", 2),
    # It is not known whether another process uses the port.
    ({0: [SERVER], 2: [EXITED]}, {0: "closed", 2: unreachable()},
     f"UnexpectedExit: Exited 3 after 9 s, {WANTED}: server.py", 2),
    ({0: [FIRST], 2: [BACKING_OFF]}, CLOSED,
     f"UnexpectedExit: Exited 1 after 9 s, {WANTED}: web", 2),
    ({0: [FIRST], 2: [SECOND]}, CLOSED,
     f"ProcessOOMKilled: OOM-killed, then restarted; {WANTED}: web", 2),
    ([SERVER], {0: "taken"},
     "WaitTimedOut: Another process uses port 8080 after 30 s: server.py, still running", 30),
    ({0: [SERVER], 2: [EXITED]}, {0: "taken"}, TAKEN, 2),
    ({0: [SERVER], 2: [EXITED]}, {0: "taken", 2: "open"}, TAKEN, 2),
]
# fmt: on


@pytest.mark.parametrize(("script", "ports", "expected", "at"), RESULTS)
def test_wait_ends_within_100_ms_after_the_port_opens_or_the_run_ends(script, ports, expected, at):
    box = box_of(script, ports=ports)
    who = "web" if expected.endswith("web") else 77

    assert result_of(lambda: box.wait_for_port(who, 8080)) == expected
    assert at <= polls(box)[-1] < at + 0.1
    assert {port for _, port, _ in box._client.probes} == {8080}


def test_only_a_listed_process_is_probed():
    box = box_of({0: [], 2: [SERVER]})

    assert box.wait_for_port("server.py", 8080).pid == 77
    assert [at for at, _, _ in box._client.probes] == [polls(box)[-1]]


def test_only_the_last_probe_may_exceed_the_deadline_and_only_by_half_a_second():
    box = box_of([SERVER], ports={0: "closed"})

    failure(lambda: box.wait_for_port(77, 8080, timeout=6), errors.WaitTimedOut)

    probes = box._client.probes
    assert all(limit == pytest.approx(min(5.0, max(6 - at, 0.5))) for at, _, limit in probes)
    assert probes[-1] == (6.0, 8080, 0.5)
