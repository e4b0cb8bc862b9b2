"""Every kind of failure, as a script of what the sandbox lists and the call that fails.

The folder ``shapes/`` beside this file stores the whole message of each failure on a terminal of 80
columns; for two of them, it stores two widths and four verbosities. After a deliberate change of a
message, write the files again and read them::

    python -m tests.messages.shapes
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock
from unittest.mock import call

from pytest_tlsandbox import errors
from pytest_tlsandbox.types import Screen
from tests.rows import OOM, T0, ended, managed, raw, signaled
from tests.support import box_of, failure, make, unreachable

if TYPE_CHECKING:
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.sandbox import Sandbox

FOLDER = Path(__file__).with_suffix("")
WIDTHS = (80, 120)
VERBOSITIES = {-1: "-q", 0: "default", 1: "-v", 2: "-vv"}
IN_ALL_SIZES = ("oom_confirmed", "several_at_once")
MARGIN = 8
"""Columns that pytest uses before each line of a message."""

TRACEBACK = ("Traceback (most recent call last):", "RuntimeError: no shard 7 in /data")
LONG_LOG = tuple(f"step {number} loss {1 / number:.4f}" for number in range(1, 46))


@dataclass(frozen=True)
class Shape:
    """One kind of failure.

    Attributes:
        script: the rows that the sandbox lists, or by the second from which it lists them; or an
            error instead of rows.
        calls: the call that fails, or the checks of a soft block, recorded by ``mock.call``.
        before: the rows at the start of the test; without them, the test has no baseline.
        stderr: the lines that each process has written to stderr.
        stdout: the lines that each process has written to stdout.
        port: the state of every port, or an error.
        test_ends: seconds after which pytest-timeout would end the test.

    """

    script: Any
    calls: Any
    before: list[dict[str, Any]] | None = None
    stderr: tuple[str, ...] = ()
    stdout: tuple[str, ...] = ()
    port: Any = "closed"
    test_ends: float | None = None

    def fail(self, box: Sandbox) -> None:
        """Make the call, or the checks in a soft block."""
        if not isinstance(self.calls, list):
            make(self.calls, box)
            return
        with box.soft() as check:
            for each in self.calls:
                make(each, check)


def error_of(shape: Shape, columns: int, verbosity: int) -> errors.TLSandboxError:
    """Return the error of a shape, rendered for a terminal of this width."""
    box = box_of(
        shape.script if shape.before is None else {0: shape.before, 0.05: shape.script},
        latency=0.06,
        written={0: (shape.stdout, shape.stderr)},
        ports={0: shape.port},
        screen=Screen(verbosity, columns - MARGIN),
    )
    if shape.before is not None:
        box = box.from_now()
    if shape.test_ends is not None:
        deadline = box._client.clock.now + shape.test_ends
        box._client.test_deadline = lambda: deadline
    # Random pauses would change the times and, now and then, the number of polls.
    with mock.patch("pytest_tlsandbox.client.retry._jitter") as jitter:
        jitter.uniform.return_value = 1.0
        return failure(lambda: shape.fail(box))


def kept(name: str) -> str:
    """Return the message of a shape as it is stored.

    For a shape in ``IN_ALL_SIZES``, return the messages of all sizes, each below a line with its
    size and with the attribute ``wanted`` of the error.
    """
    sizes = [(columns, verbosity) for columns in WIDTHS for verbosity in VERBOSITIES]
    texts = ""
    for columns, verbosity in sizes if name in IN_ALL_SIZES else [(80, 0)]:
        error = error_of(SHAPES[name], columns, verbosity)
        size = f"{columns} columns, {VERBOSITIES[verbosity]}"
        texts += f"=== {size}; wanted: {error.wanted}\n{error}\n\n"
    # The line number of a soft check changes with that file.
    return re.sub(r"^(  check \d+  support\.py:)\d+:", r"\1N:", texts[:-1], flags=re.MULTILINE)


BAD_GATEWAY = unreachable("502", "answered 502 with an HTML page (154 bytes)")
RESET = unreachable("reset", "cannot be reached: the connection was reset")

TRAIN = {"args": ("train.py", "--lr", "0.1", "--token=abc")}
JOB = raw(41, **TRAIN)
SERVE = raw(40, command="bash", args=("-lc", "./serve.sh"), started_at=T0 - 22_000)
SHELL = raw(52, command="sh", args=("-c", "python eat.py; true"), **ended(0, oom_killed=True))
WORKER = raw(38, args=("worker.py", "--queue", "low"), **OOM)
NOT_RUNNING = "Sandbox my-sandbox is {} (409 SANDBOX_NOT_RUNNING)"
SUSPENDED = errors.SandboxNotRunning(NOT_RUNNING.format("suspended"), transient=True)
TERMINATED = errors.SandboxNotRunning(NOT_RUNNING.format("terminated"))
REFUSED = errors.AuthenticationFailed("my-sandbox rejected the API key (401 UNAUTHORIZED)")
WEB = {"command": "gunicorn", "args": ("app:web", "--bind", "0.0.0.0:8080")}


def web(pid: int = 120, *, gone: dict[str, Any] | None = None, **supervised: Any) -> dict[str, Any]:
    """Return a managed process; a run with another pid starts 5 s after the first."""
    start = T0 + (5000 if pid > 120 else 0)
    return raw(pid, **WEB, started_at=start, **(gone or {}), managed=managed("web", **supervised))


def again(pid: int, restarts: int, **end: Any) -> dict[str, Any]:
    """Return a managed process that was restarted this many times, with its last end."""
    return web(pid, restart_count=restarts, last_exit={**end, "ended_at": T0 + 4000})


def cut_off(cause: str) -> errors.SandboxUnreachable:
    """Return a permanent error."""
    return errors.SandboxUnreachable(f"my-sandbox cannot be reached: {cause}", label=cause)


def job(end: dict[str, Any]) -> dict[str, Any]:
    return raw(41, **TRAIN, **end)


def three_passed(seen: ProcessSnapshot) -> object:
    return len([row for row in seen if row.exit_code == 0]) > 2 and "--token=abc"


STARTING = web(health_status="starting")
CHECK = {"type": "tcp", "port": 9, "interval_ms": 50}
UNHEALTHY = web(health_status="unhealthy", consecutive_health_failures=4, health_check=CHECK)
ONCE = {"restart_count": 1, "restart": {"policy": "always", "max_restarts": 1}}
GAVE_UP = web(gone=ended(1), status="stopped", last_error="restart limit reached", **ONCE)
OOM_AGAIN, FAILED_AGAIN = again(131, 1, signal=9, oom_killed=True), again(131, 1, exit_code=1)
SERVER, SERVED = raw(77, args=("server.py",)), raw(77, args=("server.py",), **ended(0))
EVAL, KILLED_EVAL = (raw(52, args=("eval.py",), **end) for end in ({}, signaled(9)))
SOLVER = raw(52, command="./solver", args=(), **signaled(6))
UNREADABLE = {"pid": 9, "status": "running", "args": ["--token=abc"]}
WORKERS = [WORKER, raw(39, args=("worker.py", "--high")), raw(37, args=("worker.py",), **ended(1))]
MANY = [raw(number, args=(f"worker.py --number {number}",)) for number in range(30, 50)]
TUNNEL = errors.RequestRefused("my-sandbox has no tunnel to its ports", label="404")
LONG = raw(42, args=("train.py", *["--lr=0.1"] * 9), managed=managed(restart_count=2))
SICK = ("GET /health 503",) * 4
HOSTILE = [
    raw(
        66, "/srv/\x1b[31mbin\x1b[0m/训练脚本.py",
        ("--title=two\nlines\tand a tab", "שלום עולם", "--name=\u202egnp.exe", "数据集" * 12,
         "e\u0301" * 20, "x" * 100_000),
    ),
    raw(67, "שרת", ("--פורט", "8080")),
]  # fmt: skip
HOSTILE_OUTPUT = (
    "\x1b[31mred\x1b[0m\rover it", "שגיאה: 12", "\u202etxet", "数据" * 40, "y" * 5000,
)  # fmt: skip

exits, waits, has = call.wait_for_exit, call.wait_for_process, call.assert_process
no_oom, no_crash, no_restart = call.assert_no_oom, call.assert_no_crash, call.assert_no_restart
not_running = call.assert_not_running
# fmt: off
SHAPES: dict[str, Shape] = {
    # ---------------------------------------------------------------- unexpected end
    "wrong_exit_code": Shape(
        {0: [SERVE, JOB], 8.1: [SERVE, job(ended(3))]}, exits(41), stderr=TRACEBACK),
    "crash_signal": Shape({0: [JOB], 2: [job(signaled(11))]}, exits(41), stdout=LONG_LOG),
    "ended_by_a_foreign_signal": Shape([job(signaled(15))], exits("train.py")),
    "ended_already": Shape([SERVED], waits("server.py"), stdout=("listening on 8080", "bye")),
    "unknown_end": Shape({0: [JOB], 1: [job(ended(-1))]}, exits(41)),
    "unconfirmed_signal": Shape([job(signaled(1))], exits("train.py")),
    "port_closed": Shape([SERVER], call.wait_for_port(77, 8080, timeout=2), stdout=("migrating",)),
    "port_taken": Shape(
        {0: [SERVER], 1: [raw(77, args=("server.py",), **ended(3))]},
        call.wait_for_port(77, 8080), port="taken"),
    "port_without_a_tunnel": Shape([SERVER], call.wait_for_port(77, 8080), port=TUNNEL),
    "too_few_running": Shape(
        WORKERS, call.wait_for_count("worker.py", 3, timeout=2), stderr=TRACEBACK),

    # -------------------------------------------------------------------- out of memory
    "oom_confirmed": Shape({0: [SERVE, JOB], 8.1: [SERVE, job(OOM)]}, exits(41), stderr=LONG_LOG),
    "oom_suspected": Shape([SERVE, job(signaled(9))], no_oom(suspected=True)),
    "oom_beside_a_suspicion": Shape([SERVE, job(OOM), KILLED_EVAL], no_oom(), [SERVE, JOB, EVAL]),
    "oom_masked_by_a_restart": Shape(
        [SERVE, OOM_AGAIN], no_oom(), [SERVE, web()], stderr=("[120] booting worker",)),
    "oom_of_an_unlisted_run": Shape([OOM_AGAIN], no_oom(), stderr=("booting",)),
    "oom_several": Shape(
        [WORKER, job(OOM), SHELL, OOM_AGAIN], no_oom(),
        stderr=("MemoryError: no memory for token=abc" + " x" * 60,)),
    "oom_twice": Shape([OOM_AGAIN | OOM], no_oom(), [web()], stderr=("[120] booting worker",)),

    # ------------------------------------------------------------------------ timeouts
    "timed_out_still_running": Shape([SERVE, JOB], exits("train.py", timeout=2), stdout=LONG_LOG),
    "timed_out_before_pytest_timeout": Shape([JOB], exits(41, timeout=60), test_ends=3.0),
    "timed_out_unstable": Shape(
        {0: [web()], 1.5: [FAILED_AGAIN]}, waits("web", stable_for=3, timeout=4)),
    "timed_out_unhealthy": Shape(
        {0: [STARTING], 1: [UNHEALTHY]}, waits("web", healthy=True, timeout=5), stderr=SICK),
    "timed_out_before_the_first_health_check": Shape(
        [STARTING], waits("web", healthy=True, timeout=2)),
    "timed_out_with_two_wrong_fields": Shape(
        [STARTING], waits("web", status=("exited", "signaled"), healthy=True, timeout=2)),
    "condition_not_met": Shape(
        [SERVE, SERVED, job(ended(0))], call.wait_until(three_passed, timeout=1), [SERVE, SERVED]),
    "never_healthy": Shape([SERVER], waits(77, healthy=True)),
    "output_not_written": Shape([SERVER], call.wait_for_output("server.py", "ready", timeout=2)),
    "output_not_written_before_the_end": Shape(
        {0: [SERVER], 1: [SERVED]}, call.wait_for_output(77, "ready"), stdout=("migrating", "bye")),

    # ---------------------------------------------------------- selection of a process
    "not_found_letters_swapped": Shape([SERVE, job(ended(0))], waits("trian.py", timeout=2)),
    "not_found_ended_before_this_test": Shape(
        [SERVE, job(ended(0))], exits("train.py", timeout=2), [SERVE, job(ended(0))]),
    "not_found_nothing_near": Shape(MANY, waits("postgres", timeout=2)),
    "not_found_nothing_listed": Shape([], waits("postgres", timeout=2)),
    "not_found_beside_an_unreadable_row": Shape(
        [UNREADABLE, SERVER], has("none", status="running")),
    "gone": Shape({0: [SERVE, JOB], 2: [SERVE]}, exits(41)),
    "ambiguous": Shape(
        [JOB, raw(43, args=("train.py", "--lr", "0.2"), started_at=T0 + 1000)], exits("train.py")),

    # ------------------------------------------------------------------- inconclusive
    "not_checked": Shape({0: BAD_GATEWAY, 13: RESET}, exits(41, timeout=60)),
    "outage_in_the_middle": Shape(
        {0: [JOB], 2: BAD_GATEWAY, 5: RESET, 7: [JOB], 9: [job(ended(1))]},
        exits(41), stderr=TRACEBACK),
    "suspended": Shape({0: SUSPENDED}, exits(41, timeout=2)),
    "terminated": Shape({0: [JOB], 3: TERMINATED}, exits(41)),
    "key_refused": Shape({0: REFUSED}, call.list_processes()),
    "blocked": Shape({0: cut_off("SocketBlockedError")}, call.list_processes()),
    "cut_off": Shape({0: cut_off("OSError")}, call.list_processes()),
    "replaced": Shape([raw(12, handle=1, started_at=T0 + 5000)], no_oom(), [raw(41, handle=1)]),
    "not_observed_a_row_that_cannot_be_read": Shape([JOB, UNREADABLE], no_oom()),
    "not_observed_all_vanished": Shape([SERVED], no_oom(), [JOB, EVAL]),
    "not_observed_exit_code": Shape([job(ended(-1))], no_crash("train.py")),
    "not_observed_ends_behind_restarts": Shape([again(133, 3, exit_code=1)], no_oom(), [web()]),
    "not_observed_after_an_outage": Shape(
        {0: [JOB], 0.05: BAD_GATEWAY, 2: [JOB, UNREADABLE]}, no_oom()),

    # ------------------------------------------------------------- several failures
    "stays_restarted": Shape(
        {0: [web()], 1: [FAILED_AGAIN]}, call.assert_stays("web", stable_for=5)),
    "crashed": Shape([job(signaled(11)), SOLVER], no_crash("train.py", "solver")),
    "gave_up": Shape([GAVE_UP], no_crash(), [web()], stderr=TRACEBACK),
    "restarted": Shape([again(131, 2, exit_code=1)], no_restart(), [web()]),
    "unhealthy": Shape([UNHEALTHY], call.assert_no_incidents(), stderr=SICK),
    "mismatch_cut_in_the_first_line": Shape(
        [raw(41, "x" * 40, ())], has(41, command="sh"), stdout=("no data",)),
    "mismatch_of_fields": Shape(
        [SERVE, web(restart_count=1)],
        has("web", status="exited", exit_code=(0, 3), args=["--token", "abc"])),
    "still_running": Shape([SERVE, JOB], not_running("train.py")),
    "still_running_several": Shape([JOB, LONG], not_running("train.py")),
    "several_at_once": Shape(
        [SERVE, job(OOM), web(health_status="unhealthy")],
        [has(40, status="running"), has("train.py", status="exited", exit_code=0), no_oom(),
         no_restart(), has("trian.py", status="running"), not_running("serve.sh"),
         call.assert_no_incidents("web")]),
    "several_at_once_one_fails": Shape(
        {0: BAD_GATEWAY, 0.5: [SERVE, job(ended(3))]}, [has(41, exit_code=0), no_crash()]),
    "hostile_command_line": Shape(HOSTILE, exits(66, timeout=1), stderr=HOSTILE_OUTPUT),
    "hostile_command_line_not_found": Shape(HOSTILE, waits("训练脚木.py", timeout=1)),
}
# fmt: on


def write() -> None:
    """Write the message of every shape, and remove the files of other shapes."""
    for stored in FOLDER.glob("*.txt"):
        stored.unlink()
    for name in SHAPES:
        (FOLDER / f"{name}.txt").write_text(kept(name), "utf-8")


if __name__ == "__main__":
    write()
