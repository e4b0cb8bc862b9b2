"""Several checks, judged on one look and told together."""

from __future__ import annotations

import sys
import threading
from textwrap import dedent

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.sandbox import Sandbox
from tests.support import FakeClock, ScriptedLister, ended, managed, raw, signaled

RUNNING = raw(41)
EXITED = raw(42, args=("prepare.py",), **ended(0))
FAILED = raw(43, args=("train.py", "--token=abc"), **ended(3))
OOM = raw(44, args=("worker.py",), **signaled(9, status="oom_killed", oom_killed=True))


def box_of(*rows, **later) -> tuple[Sandbox, ScriptedLister]:
    script = {0: list(rows), **{float(at[1:]): seen for at, seen in later.items()}}
    lister = ScriptedLister(FakeClock(), script, latency=0.06)
    return Sandbox(lister), lister


def unreachable() -> errors.SandboxUnreachable:
    return errors.SandboxUnreachable("my-sandbox answered 502", label="502", transient=True)


def text(indented: str) -> str:
    return dedent(indented).strip()


def here() -> int:
    """The number of the line that asks for it."""
    return sys._getframe(1).f_lineno


# ------------------------------------------------------------------- on one look


def test_a_block_in_which_every_check_passes_passes():
    box, _ = box_of(EXITED)

    with box.soft() as check:
        assert check.assert_process(42, exit_code=0) is None
        assert check.assert_no_oom() is None
        assert check.assert_no_crash() is None
        assert check.assert_no_restart() is None
        assert check.assert_no_incidents() is None
        assert check.assert_not_running("prepare.py") is None


def test_all_are_judged_when_the_block_ends_and_on_one_look():
    box, lister = box_of(EXITED)

    with box.soft() as check:
        for _ in range(5):
            check.assert_process(42, exit_code=0)
            check.assert_no_oom()
        assert lister.polls == []

    assert lister.polls == [0.0]


def test_one_that_fails_does_not_keep_the_others_from_being_told():
    box, lister = box_of(EXITED, FAILED, OOM)

    with pytest.raises(errors.ChecksFailed) as caught, box.soft() as check:
        line = here()
        check.assert_process(43, exit_code=0)
        check.assert_process(42, exit_code=0)
        check.assert_no_oom()
        check.assert_no_crash()

    assert lister.polls == [0.0]
    assert str(caught.value) == text(f"""
        2 of 4 checks failed: train.py (pid 43) differs in exit_code ...

          1  test_soft.py:{line + 1}: train.py (pid 43) differs in exit_code
                          wanted  was
               exit_code  0       3    <
             process  python train.py --token=***
             lived    9 s, 16:00:00.000 to 16:00:09.000 (sandbox clock, UTC)
             try      exit_code=3, if it is to end so
          3  test_soft.py:{line + 3}: OOM-killed: worker.py (pid 44)
             the sandbox lists it as OOM-killed
             process  python worker.py
             lived    9 s, 16:00:00.000 to 16:00:09.000 (sandbox clock, UTC)
             checked  3 processes
             try      more memory for the sandbox (memory_mb; of local, --tlsandbox-memory), or less for
                      the process
          passed   2 pid 42: exit_code 0 | 4 nothing crashed
          looks    1, 60 ms each
          sandbox  my-sandbox
    """)


def test_where_one_of_one_fails_the_verdict_is_its_own():
    box, _ = box_of(FAILED)

    with pytest.raises(errors.ChecksFailed) as caught, box.soft() as check:
        check.assert_process(43, exit_code=0)

    assert caught.value.first_line == (
        "1 of 1 check failed: train.py (pid 43) differs in exit_code"
    )


def test_the_error_carries_what_each_check_alone_would_have_raised():
    box, _ = box_of(FAILED, OOM, {"pid": 9})

    with pytest.raises(errors.ChecksFailed) as caught, box.soft() as check:
        check.assert_process(43, exit_code=0)
        check.assert_no_oom(44)
        check.assert_process("no such", exit_code=0)
        check.assert_no_restart()

    failures = caught.value.failures
    assert [(type(failure).__name__, str(failure)) for failure in failures] == [
        ("AssertionFailed", "train.py (pid 43) differs in exit_code"),
        ("ProcessOOMKilled", "OOM-killed: worker.py (pid 44)"),
        ("ProcessNotFound", 'No process "no such" in my-sandbox'),
        ("Inconclusive", "Not observed: 1 row of my-sandbox cannot be read"),
    ]
    assert all(failure.snapshot is caught.value.snapshot for failure in failures)
    assert failures[0].wanted == "pid 43: exit_code 0"


def test_what_passes_is_told_when_something_else_fails():
    box, _ = box_of(EXITED, FAILED)

    with pytest.raises(errors.ChecksFailed) as caught, box.soft() as check:
        check.assert_no_oom()
        check.assert_process("train.py", exit_code=0)
        check.assert_process("prepare.py", status="exited", exit_code=(0, 1))

    [passed] = [line for line in str(caught.value).splitlines() if "  passed " in line]
    assert passed.split("passed   ")[1] == (
        '1 nothing oom-killed | 3 "prepare.py": status exited, exit_code 0 or 1'
    )


def test_the_checks_of_a_block_look_back_to_where_the_test_began():
    box, _ = box_of(OOM, RUNNING, t1=[OOM, RUNNING])
    box = box.from_now()

    with box.soft() as check:
        check.assert_no_oom()

    with pytest.raises(errors.ChecksFailed), box.soft() as check:
        check.assert_no_oom(since=None)


# ------------------------------------------------------------------ how long it takes


def test_a_negative_check_has_the_time_that_it_has_alone():
    box, lister = box_of(RUNNING)

    with box.soft() as check:
        check.assert_process(41, status="running")
        check.assert_no_oom()

    assert 0.2 <= lister.polls[-1] < 0.4


def test_what_happens_while_it_settles_is_seen():
    box, _ = box_of(RUNNING, **{"t0.1": [OOM]})

    with pytest.raises(errors.ChecksFailed), box.soft() as check:
        check.assert_no_oom()


def test_one_that_fails_at_once_does_not_cut_the_time_of_another():
    box, _ = box_of(RUNNING, FAILED, **{"t0.1": [RUNNING, FAILED, OOM]})

    with pytest.raises(errors.ChecksFailed) as caught, box.soft() as check:
        check.assert_process(43, exit_code=0)
        check.assert_no_oom()

    assert len(caught.value.failures) == 2
    assert "judged on the last, after " in str(caught.value)


def test_what_was_so_for_too_short_a_time_to_be_sure_does_not_spoil_what_is_certain():
    """The first needs no more than one look; the second more than pytest-timeout leaves it."""
    box, lister = box_of(RUNNING)
    lister.test_deadline = lambda: 1000.3

    with pytest.raises(errors.TLSandboxError) as caught, box.soft() as check:
        check.assert_process(41, status="running")
        check.assert_no_oom()

    assert caught.value.first_line.startswith("1 of 2 checks failed: Not observed: ")


# ---------------------------------------------------------------------------- faults


def test_where_nothing_can_be_judged_the_fault_is_what_is_told():
    box, lister = box_of()
    lister._script = {0: unreachable()}

    with pytest.raises(errors.SandboxUnreachable) as caught, box.soft() as check:
        check.assert_no_oom()
        check.assert_process(41, status="running")

    assert caught.value.first_line.startswith(
        "Not checked: no listing of my-sandbox succeeded in 30"
    )
    assert caught.value.wanted == "nothing oom-killed and status running"
    assert (caught.value.label, caught.value.transient) == ("502", True)


def test_where_every_check_that_failed_saw_too_little_it_is_a_fault_and_no_judgement():
    box, _ = box_of(EXITED, {"pid": 9})

    with pytest.raises(errors.Inconclusive) as caught, box.soft() as check:
        check.assert_no_oom()
        check.assert_process(42, exit_code=0)
        check.assert_no_crash()

    assert not isinstance(caught.value, AssertionError)
    assert caught.value.first_line == (
        "2 of 3 checks failed: Not observed: 1 row of my-sandbox cannot be read ..."
    )
    assert caught.value.label == "Not observed: 1 row of my-sandbox cannot be read"


def test_faults_that_pass_are_ridden_out():
    box, lister = box_of(EXITED)
    lister._script = {0: unreachable(), 5: [EXITED]}

    with box.soft() as check:
        check.assert_process(42, exit_code=0)

    assert lister.polls[-1] >= 5


# ------------------------------------------------------------- what the block raises


class Broken(Exception):
    """An error of the user's own."""


def test_what_the_block_raises_is_raised_and_what_the_checks_found_is_its_note():
    box, lister = box_of(FAILED)

    with pytest.raises(Broken) as caught, box.soft() as check:
        line = here()
        check.assert_process(43, exit_code=0)
        raise Broken

    [note] = caught.value.__notes__
    assert note == text(f"""
        besides, 1 of 1 check failed: train.py (pid 43) differs in exit_code

          1  test_soft.py:{line + 1}: train.py (pid 43) differs in exit_code
                          wanted  was
               exit_code  0       3    <
             process  python train.py --token=***
             lived    9 s, 16:00:00.000 to 16:00:09.000 (sandbox clock, UTC)
             try      exit_code=3, if it is to end so
          looks    1, 60 ms each
          sandbox  my-sandbox
    """)
    assert lister.polls == [0.0]
    assert caught.value.__context__ is None


def test_where_the_checks_pass_what_the_block_raises_has_no_note():
    box, _ = box_of(EXITED)

    with pytest.raises(Broken) as caught, box.soft() as check:
        check.assert_process(42, exit_code=0)
        raise Broken

    assert getattr(caught.value, "__notes__", []) == []


def test_where_nothing_was_checked_yet_what_the_block_raises_costs_no_look():
    box, lister = box_of(EXITED)

    with pytest.raises(Broken), box.soft():
        raise Broken

    assert lister.polls == []


def test_what_the_checks_find_is_added_to_notes_that_there_are():
    box, _ = box_of(FAILED)
    error = Broken()
    error.__notes__ = ["the first"]

    with pytest.raises(Broken) as caught, box.soft() as check:
        check.assert_process(43, exit_code=0)
        raise error

    assert [note.partition(":")[0] for note in caught.value.__notes__] == [
        "the first",
        "besides, 1 of 1 check failed",
    ]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, pytest.skip.Exception])
def test_an_interruption_and_a_skip_go_through_untouched_and_at_once(kind):
    box, lister = box_of(FAILED)
    error = kind("stop")

    with pytest.raises(BaseException) as caught, box.soft() as check:
        check.assert_process(43, exit_code=0)
        raise error

    assert caught.value is error
    assert getattr(caught.value, "__notes__", []) == []
    assert lister.polls == []


def test_a_call_that_means_nothing_is_an_error_at_its_own_line_and_not_one_of_the_checks():
    box, _ = box_of(FAILED)

    with pytest.raises(errors.InvalidArgument) as caught, box.soft() as check:
        check.assert_process(43, exit_code=0)
        check.assert_process(43, exitcode=0)

    assert caught.value.first_line == (
        "a process has no field 'exitcode'; did you mean 'exit_code'?"
    )
    assert caught.value.__notes__[0].startswith("besides, 1 of 1 check failed: ")


# ---------------------------------------------------------------------- used wrongly


def test_a_block_in_which_nothing_is_checked_is_an_error():
    box, lister = box_of(EXITED)

    with pytest.raises(errors.InvalidArgument) as caught, box.soft():
        box.assert_process(42, exit_code=0)

    assert str(caught.value) == (
        "soft(): nothing was checked; write `with tlsandbox.soft() as check:`, and "
        "check.assert_process(...) in it"
    )
    assert lister.polls == [0.0]


def test_a_check_after_the_block_is_an_error_and_not_forgotten():
    box, _ = box_of(EXITED)
    with box.soft() as check:
        check.assert_process(42, exit_code=0)

    with pytest.raises(errors.InvalidArgument) as caught:
        check.assert_no_oom()

    assert str(caught.value) == (
        "soft(): its checks are made in its block, `with tlsandbox.soft() as check:`, and judged "
        "when that ends"
    )


def test_a_check_without_a_block_is_an_error_that_says_so():
    box, _ = box_of(EXITED)

    with pytest.raises(errors.InvalidArgument) as caught:
        box.soft().assert_no_oom()

    assert "has ended" not in str(caught.value)
    assert "with" in str(caught.value)


def test_blocks_within_blocks_are_judged_each_at_its_own_end():
    box, _ = box_of(FAILED, OOM)

    with pytest.raises(errors.ChecksFailed) as caught, box.soft() as outer:
        outer.assert_process(43, exit_code=0)
        with pytest.raises(errors.ChecksFailed) as inside, box.soft() as inner:
            inner.assert_no_oom()

    assert len(inside.value.failures) == len(caught.value.failures) == 1
    assert inside.value.first_line == "1 of 1 check failed: OOM-killed: worker.py (pid 44)"


def test_a_block_may_be_entered_anew_and_begins_with_no_checks():
    box, _ = box_of(EXITED, FAILED)
    soft = box.soft()
    with pytest.raises(errors.ChecksFailed), soft as check:
        check.assert_process(43, exit_code=0)

    with soft as check:
        check.assert_process(42, exit_code=0)


def test_threads_may_add_checks_and_none_is_lost():
    box, _ = box_of(EXITED, FAILED)
    ready = threading.Barrier(8)

    def add(check):
        ready.wait()
        for _ in range(50):
            check.assert_process(42, exit_code=0)
        check.assert_process(43, exit_code=0)

    with pytest.raises(errors.ChecksFailed) as caught, box.soft() as check:
        threads = [threading.Thread(target=add, args=(check,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert caught.value.first_line.startswith("8 of 408 checks failed: ")
    assert len(caught.value.failures) == 8


def test_a_managed_process_is_checked_by_its_name():
    box, _ = box_of(raw(7, command="web", args=(), managed=managed("web", restart_count=1)))

    with pytest.raises(errors.ChecksFailed) as caught, box.soft() as check:
        check.assert_no_restart("web")
        check.assert_process("web", status="running")

    assert caught.value.first_line == "1 of 2 checks failed: Restarted: web, first run"


def test_a_check_in_code_that_belongs_to_no_module_is_kept_as_any_other():
    box, _ = box_of(FAILED)

    with pytest.raises(errors.ChecksFailed), box.soft() as check:
        exec("check.assert_process(43, exit_code=0)", {"check": check})
