"""Small things that a judgement hangs on, each of which no other test would miss."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest

from pytest_tlsandbox import by, errors
from pytest_tlsandbox.client.parsing import parse_process
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.sandbox import Sandbox
from tests.support import (
    T0,
    FakeClock,
    ScriptedLister,
    ended,
    managed,
    process,
    raw,
    signaled,
    snapshot,
)

RUNNING = raw(41)


def box_of(script, **options) -> tuple[Sandbox, ScriptedLister]:
    if not isinstance(script, dict):
        script = {0: script}
    lister = ScriptedLister(FakeClock(), script)
    return Sandbox(lister, **options), lister


def vanished(*before, killed=None):
    """A sandbox of which ``before`` was listed at the start of the test, and is replaced by another."""
    box, _ = box_of({0: list(before), 1: [raw(43)]})
    box = box.from_now()
    if killed is not None:
        box._history.note_signal(process(killed), 9)
    box._client.clock.sleep(1)
    return box


def replaced(before, after) -> bool:
    history = History(lambda: 0.0)
    history.fold(before)
    history.fold(after)
    return history.replaced_at == history.position


def fails(call, error=errors.TLSandboxError) -> errors.TLSandboxError:
    with pytest.raises(error) as caught:
        call()
    return caught.value


# ------------------------------------------------------- what is no longer listed


def test_a_process_of_the_test_that_vanished_is_not_observed_after_a_second():
    box, lister = box_of({0: [raw(42)]}, started=[process(41)])
    box._history.note_start(process(41))

    error = fails(box.assert_no_oom, errors.Inconclusive)

    assert error.first_line == "Not observed: the end of train.py (pid 41)"
    text = str(error)
    assert "it was alive, and is no longer listed" in text
    assert "\n  process  python train.py\n" in text
    assert "was the sandbox or its daemon restarted, or the process removed by a kill?" in text
    assert 1.0 <= lister.polls[-1] <= 1.1


def test_a_process_that_the_test_killed_may_vanish():
    box, _ = box_of({0: [RUNNING], 1: [raw(42)]}, started=[process(41)])
    box._history.note_start(process(41))
    box._history.note_signal(process(41), 9)
    box._client.clock.sleep(1)

    box.assert_no_oom()


def test_all_that_was_there_may_not_vanish_but_one_may():
    error = fails(vanished(raw(41), raw(42)).assert_no_oom)
    assert error.first_line == "Not observed: the end of train.py (pid 41) and 1 more"
    assert "    pid 42  running  " in str(error)

    box, _ = box_of([raw(42)], baseline=snapshot(raw(41), raw(42)))
    box.assert_no_oom()


def test_what_had_ended_before_may_vanish_and_so_may_what_the_test_killed():
    vanished(raw(41, **ended(0))).assert_no_oom()
    vanished(raw(41), killed=41).assert_no_oom()


def test_a_process_meant_by_name_of_its_object_that_is_gone_is_told_after_a_second():
    box, lister = box_of([raw(42)])
    error = fails(lambda: box.assert_no_oom(process(41)), errors.ProcessNotFound)
    assert error.first_line == "No process pid 41 in my-sandbox"
    assert 1.0 <= lister.polls[-1] <= 1.1

    box, lister = box_of([raw(42)])
    fails(lambda: box.assert_no_oom("none"), errors.ProcessNotFound)
    assert lister.polls == [0.0]


# ----------------------------------------------------------------------- output


def output_box(*answers, rows=(RUNNING,)):
    box, lister = box_of(list(rows))
    given = iter(answers)

    def output(pid, stream="output", *, limit=None):
        answer = next(given, answers[-1])
        if isinstance(answer, Exception):
            raise answer
        return answer

    lister.output = output
    return box, lister


def test_output_that_cannot_be_read_is_told_with_its_reason():
    down = errors.SandboxUnreachable("my-sandbox answered 502", label="502", transient=True)
    box, _ = output_box(down)
    error = fails(lambda: box.wait_for_output("train.py", "x", timeout=0.2))
    assert type(error) is errors.SandboxUnreachable
    assert error.first_line == "Not read: the output of train.py (pid 41) after 0.2 s"
    assert "my-sandbox answered 502" in str(error)
    assert "  process  python train.py\n" in str(error)

    refused = errors.RequestRefused("my-sandbox has no GET /output (404)", label="404")
    box, lister = output_box(refused)
    error = fails(lambda: box.wait_for_output("train.py", "x", timeout=9))
    assert type(error) is errors.RequestRefused
    assert error.first_line == "Not read: the output of train.py (pid 41)"
    assert lister.polls == [0.0]


def test_output_that_can_be_read_again_is_searched():
    down = errors.SandboxUnreachable("my-sandbox answered 502", label="502", transient=True)
    box, _ = output_box(down, ["a.b", "axb"])

    assert box.wait_for_output("train.py", "axb") == "axb"


def test_a_text_is_no_pattern_and_a_pattern_is():
    box, _ = output_box(["axb", "a.b"])

    assert box.wait_for_output("train.py", "a.b") == "a.b"
    assert box.wait_for_output("train.py", re.compile("a.b")) == "axb"


def test_what_was_not_written_is_told_with_what_was():
    box, _ = output_box([])
    text = str(fails(lambda: box.wait_for_output("train.py", "up", timeout=0), errors.WaitTimedOut))
    assert text.startswith('Not written: "up" by train.py (pid 41) after 0 s\n')
    assert "\n  it has written nothing\n" in text
    assert "is its output buffered? python -u and PYTHONUNBUFFERED=1 write" in text
    assert "a longer timeout=, if it only needs more time" in " ".join(text.split())

    box, _ = output_box(["one"])
    text = str(fails(lambda: box.wait_for_output("train.py", "up", timeout=0)))
    assert "1 line so far, and none has it" in text
    assert "buffered" not in text


def test_what_has_ended_without_the_line_is_told_by_identity_after_a_second_by_text_after_two():
    over = raw(41, **ended(0))
    box, lister = output_box(["one"], rows=(over,))
    text = str(fails(lambda: box.wait_for_output(41, "up"), errors.UnexpectedExit))
    assert "it has ended, and wrote no such line in 1 line" in text
    assert "the rest of its output: output(process)" in text
    assert 1.0 <= lister.polls[-1] <= 1.1

    box, lister = output_box(["one"], rows=(over,))
    fails(lambda: box.wait_for_output("train.py", "up"), errors.UnexpectedExit)
    assert 2.0 <= lister.polls[-1] <= 2.1


def test_a_process_that_was_oom_killed_before_it_wrote_is_told_so():
    box, _ = output_box(["one"], rows=(raw(41, **signaled(9, status="oom_killed")),))

    error = fails(lambda: box.wait_for_output(41, "up"), errors.ProcessOOMKilled)

    assert "the rest of its output" not in str(error)


def test_several_that_fit_are_one_too_many_also_for_what_they_write():
    box, _ = output_box(["up"], rows=(raw(41), raw(42)))

    fails(lambda: box.wait_for_output("train.py", "up"), errors.AmbiguousProcess)
    assert box.wait_for_output("train.py", "up", pick="newest") == "up"


# -------------------------------------------------------------------- the wording


def test_those_that_ended_before_the_test_are_counted():
    before = snapshot(raw(40, **ended(0)))
    box, _ = box_of([raw(40, **ended(0)), raw(41, **ended(1))], baseline=before)

    text = str(fails(lambda: box.wait_for_exit("train.py"), errors.UnexpectedExit))

    assert "1 other ended before this test" in text
    assert re.search(r"^  before +1 other", text, re.MULTILINE)
    assert "it has ended, and nothing followed within 2 s" in text


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (["a"], [("args[1]", "none", "b")]),
        (["a", "b", "c"], [("args[2]", "c", "none")]),
        (["a", "x"], [("args[1]", "x", "b")]),
    ],
)
def test_arguments_that_differ_are_told_one_by_one(wanted, told):
    box, _ = box_of([raw(41, args=("a", "b"))])

    text = str(fails(lambda: box.assert_process(41, args=wanted), errors.AssertionFailed))

    for name, value, was in told:
        assert re.search(rf"^ +{re.escape(name)} +{value} +{was} +<$", text, re.MULTILINE), text


def test_arguments_that_differ_in_what_is_masked_are_not_told():
    box, _ = box_of([raw(41, args=("--token=a",))])

    text = str(fails(lambda: box.assert_process(41, args=["--token=b"]), errors.AssertionFailed))

    assert re.search(r"^ +args +other values +masked +<$", text, re.MULTILINE), text


def test_rows_that_cannot_be_read_are_told_where_none_is_found():
    odd = {"pid": 77, "status": 3, "command": "x"}
    box, _ = box_of([odd, RUNNING])

    text = str(fails(lambda: box.assert_process("none", status="running")))

    assert re.search(r"^  unreadable +row 0 \(pid 77\): status: ", text, re.MULTILINE), text
    assert "1 process listed" in text


def test_a_row_that_cannot_be_read_is_not_gone():
    odd = {"pid": 41, "status": 3, "command": "x", "handle": 41, "started_at": T0}
    box, lister = box_of({0: [RUNNING], 1: [odd]})

    error = fails(lambda: box.wait_for_exit(41), errors.Inconclusive)

    assert error.first_line == "Not observed: 1 row of my-sandbox cannot be read"
    assert 2.0 <= lister.polls[-1] <= 2.4


def test_a_row_of_another_pid_that_cannot_be_read_does_not_matter_to_a_pid():
    odd = {"pid": 77, "status": 3, "command": "x"}
    box, _ = box_of([raw(41, **ended(0)), odd])

    box.assert_not_running(41)
    box.assert_no_oom(41)
    fails(lambda: box.assert_not_running("none"), errors.Inconclusive)
    box, _ = box_of([raw(41, **ended(0)), odd], baseline=snapshot(odd))
    box.assert_not_running("none")


def test_a_pid_that_is_not_there_yet_is_waited_for_and_is_then_one_run():
    web = {"command": "web", "args": ()}
    script = {
        0: [],
        1: [raw(7, **web, **ended(1), managed=managed(status="backing_off"))],
    }
    box, lister = box_of(script)

    fails(lambda: box.wait_for_exit(7), errors.UnexpectedExit)

    assert 1.0 <= lister.polls[-1] <= 1.1


def test_a_process_of_the_sdk_without_a_time_zone_is_in_utc():
    moment = datetime.fromtimestamp(T0 / 1000, timezone.utc)
    box, _ = box_of([raw(41, **ended(0))])

    for started_at in (moment, moment.replace(tzinfo=None)):
        row = SimpleNamespace(pid=41, handle=41, started_at=started_at, managed=None)
        assert box.wait_for_exit(row).pid == 41
    no_handle = SimpleNamespace(pid=41, started_at=moment)
    assert box.wait_for_exit(no_handle).pid == 41
    text = SimpleNamespace(pid=41, started_at="yesterday")
    assert str(fails(lambda: box.wait_for_exit(text), errors.InvalidArgument)) == (
        "process: started_at of pid 41 must be a datetime, got 'yesterday'"
    )


def test_what_is_wanted_is_carried_by_the_error_in_words():
    box, _ = box_of([raw(41, **signaled(15))])
    wants = [
        (lambda: box.wait_for_exit(41, exit_code="any"), "any exit code"),
        (lambda: box.wait_for_exit(41, exit_code=[0, 3]), "exit code 0 or 3"),
        (
            lambda: box.wait_for_process(41, status=["running", "exited"], healthy=True),
            "running or exited and healthy",
        ),
        (lambda: box.assert_stays(41, stable_for=2), "running for 2 s"),
        (
            lambda: box.assert_process(41, status="exited", exit_code=0),
            "status exited, exit_code 0",
        ),
    ]
    for call, wanted in wants:
        assert fails(call).wanted == wanted


def test_what_is_not_to_happen_is_carried_in_words_too():
    box, _ = box_of([raw(41, **signaled(11))])
    assert fails(box.assert_no_incidents).wanted == (
        "nothing oom-killed and nothing crashed and nothing restarted and nothing unhealthy"
    )
    box, _ = box_of([RUNNING])
    assert (
        fails(lambda: box.assert_not_running(41)).wanted == "nothing alive that is meant by pid 41"
    )


def test_a_callable_without_a_name_is_told_by_its_type():
    class Never:
        def __call__(self, seen):
            return 0

    box, _ = box_of([RUNNING])
    error = fails(lambda: box.wait_until(Never(), timeout=0), errors.WaitTimedOut)

    assert error.first_line == "Never true: Never after 0 s"
    assert error.wanted == "Never to be true"
    assert re.search(r"^  last +it gave 0$", str(error), re.MULTILINE)


def test_a_known_code_beside_a_signal_that_was_sent_is_told_as_ours():
    box, _ = box_of({0: [RUNNING], 1: [raw(41, **signaled(15))]})
    box.send_signal(41, 15)

    text = str(fails(lambda: box.wait_for_exit(41), errors.UnexpectedExit))

    assert "15 (SIGTERM), sent by this test" in text
    assert 'wait_for_process(process, status="signaled"), if that is the end that was meant' in text


# --------------------------------------------------------------------- the choice


def test_an_assertion_means_the_one_that_fits_and_pick_chooses_among_several():
    box, _ = box_of([raw(41), raw(42), raw(43, **ended(0))])

    assert box.assert_process("train.py", status="exited").pid == 43
    assert box.assert_process("train.py", status="running", pick="oldest").pid == 41
    assert box.assert_process("train.py", status="running", pick="newest").pid == 42
    assert box.assert_stays("train.py", stable_for=0.5, pick="newest").pid == 42
    fails(lambda: box.assert_stays("train.py", stable_for=0.5), errors.AmbiguousProcess)
    fails(lambda: box.assert_process("train.py", status="running"), errors.AmbiguousProcess)


def test_a_process_that_stays_is_given_and_its_restart_is_another_run():
    web = {"command": "web", "args": ()}
    first = raw(7, **web, managed=managed(restart_count=1))
    # A daemon that restarts in place: the row is the same, the count is not.
    again = raw(7, **web, managed=managed(restart_count=2))
    box, _ = box_of({0: [first]})
    assert box.assert_stays("web", stable_for=1).pid == 7

    box, _ = box_of({0: [first], 0.5: [again]})
    error = fails(lambda: box.assert_stays("web", stable_for=2), errors.AssertionFailed)
    assert error.first_line == "Restarted: web (pid 7), wanted running for 2 s"
    box, _ = box_of({0: [first], 0.5: [raw(7, **web, managed=managed(restart_count=1))]})
    box.assert_stays("web", stable_for=2)


def test_a_gap_of_exactly_the_longest_is_no_gap():
    box, lister = box_of({0: [RUNNING]})
    pauses = iter([1.0])
    sleep = lister.clock.sleep
    lister.clock.sleep = lambda seconds: sleep(next(pauses, seconds))

    box.assert_stays("train.py", stable_for=3)

    pauses = iter([1.01])
    error = fails(lambda: box.assert_stays("train.py", stable_for=3), errors.Inconclusive)
    assert error.first_line == 'Not observed: 1 s between looks at "train.py"'
    assert "wanted no gap above 1 s" in str(error)
    assert "a longer seconds= allows for longer gaps: a tenth of it" in str(error)
    pauses = iter([2.0])
    box.assert_stays("train.py", stable_for=20)


def test_handles_and_exact_values_mean_one_run():
    box, lister = box_of({0: [raw(41, handle=3), raw(42, handle=4, **ended(0))]})

    assert box.wait_for_exit(by(handle=4)).pid == 42
    assert box.assert_process(by(pid=41), status="running").handle == 3
    assert lister.polls == [0.0, 0.0]


# ------------------------------------------------------------------- replacement


def test_a_sandbox_is_replaced_where_what_lived_is_gone_and_a_handle_is_anothers():
    before = snapshot(raw(41, handle=3), raw(42, handle=4, **ended(0)))
    other = raw(50, handle=3, started_at=T0 + 60_000)

    assert replaced(before, snapshot(other))
    assert not replaced(before, snapshot(other, raw(41, handle=3)))
    # A kill removes the row of a living process. The row of an ended one goes with the daemon.
    fresh = snapshot(raw(50, handle=9, started_at=T0 + 60_000))
    assert replaced(before, fresh)
    assert not replaced(snapshot(raw(41, handle=3)), fresh)
    assert not replaced(before, snapshot(raw(42, handle=4, **ended(0))))
    assert not replaced(snapshot(raw(42, handle=4, **ended(0))), snapshot(other))
    assert not replaced(snapshot(), snapshot(other))


def test_a_managed_process_that_keeps_its_handle_over_a_restart_is_no_other_sandbox():
    web = {"command": "web", "args": ()}
    before = snapshot(raw(7, handle=3, **web, managed=managed()))

    assert not replaced(before, snapshot(raw(8, handle=3, **web, managed=managed())))
    assert replaced(before, snapshot(raw(8, handle=3, **web, managed=managed("db"))))
    assert replaced(before, snapshot(raw(8, handle=3, **web)))


def test_rows_without_handles_tell_of_no_other_sandbox():
    before = snapshot(raw(41, handle=None))

    assert not replaced(before, snapshot(raw(50, handle=None, started_at=T0 + 60_000)))


# ------------------------------------------------------------------------- labels


def test_a_body_that_is_no_process_has_a_label_of_one_phrase():
    error = fails(lambda: parse_process(b"{}"), errors.ContractViolation)

    assert error.label == "not a process"


def test_a_process_shows_its_name_where_it_has_one():
    assert repr(process(41)) == "<ProcessInfo pid 41 running: python train.py>"
    assert (
        repr(process(7, "web", (), managed=managed())) == "<ProcessInfo pid 7 'web' running: web>"
    )
    unnamed = process(7, "web", (), managed=managed(None))
    assert repr(unnamed) == "<ProcessInfo pid 7 running: web>"


# ------------------------------------------------------- what the mutants showed


def test_a_row_that_cannot_be_read_is_known_again_by_its_handle_pid_and_start():
    def mark(row):
        (odd,) = snapshot(row).unreadable
        return odd.fingerprint

    odd = {"handle": 3, "pid": 77, "started_at": T0, "status": 3, "command": "x"}
    for field in ("handle", "pid", "started_at"):
        assert mark(odd) != mark({**odd, field: 4}), field
    assert mark(odd) == mark({**odd, "status": None})
    assert mark([{"b": 1, "a": 2}]) == mark([{"a": 2, "b": 1}])


def test_a_row_that_is_no_text_at_all_says_so():
    (odd,) = snapshot(raw(41, command="\ud800")).unreadable

    assert odd.reason == "row: Invalid JSON: unexpected end of hex escape at line 1 column 126"


@pytest.mark.parametrize("fields", [{"status": "signaled"}, {"signal": 9}, {"exit_code": 0}])
def test_an_assertion_on_an_end_looks_again_at_one_that_may_be_corrected(fields):
    box, lister = box_of([raw(41, **ended(-1))])
    error = fails(lambda: box.assert_process(41, **fields), errors.Inconclusive)
    assert error.first_line == "Unknown end: train.py (pid 41) exited -1"
    assert 1.0 <= lister.polls[-1] <= 1.1

    box, lister = box_of([raw(41, **ended(-1))])
    fails(lambda: box.assert_process(41, status="running"), errors.AssertionFailed)
    assert lister.polls == [0.0]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (ended(None), "Unknown end: train.py (pid 41) exited with no exit code"),
        (signaled(None), "the sandbox does not name the signal"),
        (signaled(1), "the sandbox gives this signal to good ends as well, and may put it right"),
    ],
)
def test_an_end_that_is_not_known_is_told_in_words(end, words):
    box, _ = box_of([raw(41, **end)])

    assert words in " ".join(str(fails(lambda: box.wait_for_exit(41), errors.Inconclusive)).split())


def test_what_does_not_stay_is_told_by_its_state_and_what_was_wanted():
    box, _ = box_of([raw(41, status="paused")])

    error = fails(
        lambda: box.assert_stays(41, stable_for=1, status=["running", "exited"]),
        errors.AssertionFailed,
    )

    assert error.first_line == "Paused: train.py (pid 41), wanted running or exited for 1 s"
    assert re.search(r"^ +status +running or exited +paused +<$", str(error), re.MULTILINE)
    assert "another: it was restarted" not in str(error)


def test_a_field_that_does_not_change_is_of_another_process():
    box, _ = box_of([RUNNING])

    text = " ".join(str(fails(lambda: box.assert_process(41, command="node"))).split())
    assert "by(...) or a longer text, if another process was meant" in text
    text = " ".join(str(fails(lambda: box.assert_process(41, status="exited"))).split())
    assert "by(...)" not in text


def test_output_is_read_of_what_is_listed_and_of_nothing_else():
    box, _ = output_box(["one"])

    assert box.output(41) == ["one"]
    fails(lambda: box.output("none"), errors.ProcessNotFound)
    fails(lambda: box.output(by(pid=7)), errors.ProcessNotFound)


def test_output_that_is_lost_to_another_process_is_told_with_what_to_do():
    web = raw(41, handle=90, command="web", args=(), started_at=T0 + 60_000)
    box, _ = output_box(["one"], rows=(raw(41, **ended(1)), web))

    text = str(fails(lambda: box.output(process(41)), errors.Inconclusive))

    assert "\n  process  python train.py\n" in text
    assert "read it before the process has ended, or give it a name" in " ".join(text.split())


def test_processes_that_are_named_are_judged_whatever_else_vanished():
    """Named, they are looked for by themselves; without names, all that lived must be there."""
    job = raw(41, **ended(0))
    before = snapshot(raw(40))
    box, _ = box_of([job], baseline=before)

    box.assert_no_oom(41)
    fails(box.assert_no_oom, errors.Inconclusive)
    error = fails(vanished(raw(41), raw(42), killed=41).assert_no_oom)
    assert error.first_line == "Not observed: the end of train.py (pid 42)"
