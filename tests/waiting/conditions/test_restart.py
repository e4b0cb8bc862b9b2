"""``wait_for_restart``: the supervisor has started the process again since the test began."""

import pytest

from pytest_tlsandbox import by, errors
from tests.support import OOM, T0, box_of, ended, failure, managed, outcome, polls, raw, silent_box

WEB = {"command": "web", "args": ()}


def web(pid, restarts, status="running", *, end=None, **fields):
    """Return a row of a managed process; its run with pid 40 + n began 10 s after the run before."""
    last = {"exit_code": 1, "ended_at": T0 + (pid - 40) * 10_000 - 1000} if restarts else None
    return raw(
        pid, **WEB, **(end or {}), started_at=T0 + (pid - 40) * 10_000,
        managed=managed("web", status, restart_count=restarts, last_exit=last, **fields),
    )  # fmt: skip


FIRST, SECOND, THIRD = web(40, 0), web(41, 1), web(42, 2)
BACKING_OFF = web(40, 0, "backing_off", end=ended(1))


def begun(script, **options):
    """Return a sandbox whose test began with the first entry of the script."""
    box = silent_box(script, **options)
    return box.from_now()


@pytest.mark.parametrize("selector", ["web", 40, lambda row: row.command == "web"])
def test_wait_returns_the_new_run(selector):
    box = begun({0: [FIRST], 1: [BACKING_OFF], 2: [SECOND]})

    assert box.wait_for_restart(selector).pid == 41
    assert 2 <= polls(box)[-1] < 2.3


def test_waiting_for_a_restart_succeeds_at_once_if_it_happened_earlier_in_the_test():
    box = begun({0: [FIRST], 1: [SECOND]})
    box._client.clock.now += 5

    assert box.wait_for_restart("web").pid == 41
    assert polls(box) == [0.0, 5.0]


def test_restart_before_the_test_does_not_count_unless_since_includes_it():
    box = box_of({0: [FIRST], 1: [SECOND]})
    before = box.list_processes()
    box._client.clock.now += 5
    box = box.from_now()

    line = "0 restarts after 1 s, wanted 1: web; last output: Traceback: no memory"
    assert outcome(lambda: box.wait_for_restart("web", timeout=1)) == ("WaitTimedOut", line)
    assert box.wait_for_restart("web", since=before).pid == 41


def test_restart_of_another_matching_process_does_not_count():
    older = raw(7, **WEB, started_at=T0 - 1000, managed=managed("other"))
    box = begun({0: [older, FIRST], 1: [older, SECOND]})
    box._client.clock.now += 5

    def wait(**options):
        return outcome(lambda: box.wait_for_restart(by(command="web"), timeout=1, **options))[0]

    assert [wait(), wait(pick="oldest")] == ["AmbiguousProcess", "WaitTimedOut"]
    assert box.wait_for_restart(by(command="web"), pick="newest").pid == 41


def test_waiting_for_a_restart_counts_restarts_that_happened_between_two_polls():
    assert begun({0: [FIRST], 1: [THIRD]}).wait_for_restart("web", count=2).pid == 42


def test_waiting_for_a_restart_ignores_a_restart_that_the_plugin_requested():
    box = begun({0: [FIRST], 1: [SECOND]})
    box._history.note_restart(
        box.list_processes().processes[0], box_of([SECOND]).list_processes().processes[0]
    )

    line = "0 restarts after 5 s, wanted 1: web"
    assert outcome(lambda: box.wait_for_restart("web", timeout=5)) == ("WaitTimedOut", line)


OVER = {
    "gives up": (
        {0: [web(40, 5)], 2: [web(40, 5, "stopped", end=ended(1), last_error="restart limit reached")]},
        "UnexpectedExit", "Exited 1 (5 of 5 restarts used), wanted 1 restart: web",
    ),
    "exits with 0": (
        {0: [FIRST], 2: [web(40, 0, "stopped", end=ended(0))]},
        "UnexpectedExit", "Exited 0 after 9 s, wanted 1 restart: web",
    ),
    "is OOM-killed": (
        {0: [FIRST], 2: [web(40, 0, "stopped", end=OOM)]},
        "ProcessOOMKilled", "OOM-killed, wanted 1 restart: web",
    ),
    "has no supervisor": (
        {0: [raw(40, **WEB)]}, "AssertionFailed", "Has no supervisor, wanted 1 restart: web",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("script", "error", "line"), OVER.values(), ids=OVER)
def test_wait_ends_when_the_process_will_not_be_restarted(script, error, line):
    box = begun(script)

    assert outcome(lambda: box.wait_for_restart("web")) == (error, line)
    assert polls(box)[-1] < 5


def test_guard_does_not_report_a_restart_for_which_the_test_waited():
    box = begun({0: [FIRST], 1: [SECOND]})
    first = box._history.run_of(box.list_processes().processes[0])

    box.wait_for_restart("web")

    assert first.declared == {"restart"}


@pytest.mark.parametrize("count", [0, -1, "1", None, 1.5, True])
def test_invalid_count_is_rejected(count):
    box = begun([FIRST])

    error = failure(lambda: box.wait_for_restart("web", count), errors.InvalidArgument)

    assert str(error).startswith(f"argument 'count' must be a number >= 1, got {count!r}")
