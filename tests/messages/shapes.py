"""Every kind of failure, as a script of what the sandbox lists and the call that fails.

The folder ``shapes/`` beside this file stores the whole message of each failure on a terminal of 80
columns; for two of them, it stores two widths and four verbosities. After a deliberate change of a
message, write the files again and read them::

    python -m tests.messages.shapes
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from pytest_tlsandbox import errors
from pytest_tlsandbox.types import Screen
from tests.support import OOM, T0, box_of, ended, managed, raw, signaled, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_tlsandbox.sandbox import Sandbox

FOLDER = Path(__file__).with_suffix("")
WIDTHS = (80, 120)
VERBOSITIES = {-1: "-q", 0: "default", 1: "-v", 2: "-vv"}
IN_ALL_SIZES = ("oom_confirmed", "several_at_once")
MARGIN = 8
"""Columns that pytest uses before each line of a message."""

TRACEBACK = (
    "loading shard 7 of 8",
    "Traceback (most recent call last):",
    '  File "train.py", line 12, in <module>',
    "    main()",
    '  File "train.py", line 7, in main',
    "    raise RuntimeError(f'no shard {number} in {folder}')",
    "RuntimeError: no shard 7 in /data",
)
LONG_LOG = tuple(f"step {number} loss {1 / number:.4f}" for number in range(1, 46))


@dataclass(frozen=True)
class Shape:
    """One kind of failure.

    Attributes:
        script: the rows that the sandbox lists, or by the second from which it lists them; or an
            error instead of rows.
        ask: the call that fails.
        stderr: the lines that each process has written to stderr.
        stdout: the lines that each process has written to stdout.
        ports: the states of every port, by the second from which they apply.
        test_ends: seconds after which pytest-timeout would end the test.

    """

    script: dict[float, Any] | list[dict[str, Any]]
    ask: Callable[[Sandbox], object]
    stderr: tuple[str, ...] = ()
    stdout: tuple[str, ...] = ()
    test_ends: float | None = field(default=None, kw_only=True)
    ports: dict[float, Any] | None = field(default=None, kw_only=True)


def failure(shape: Shape, columns: int, verbosity: int) -> errors.TLSandboxError:
    """Return the error of a shape, rendered for a terminal of this width."""
    box = box_of(
        shape.script,
        latency=0.06,
        written={0: (shape.stdout, shape.stderr)},
        ports=shape.ports,
        screen=Screen(verbosity, columns - MARGIN),
    )
    if shape.test_ends is not None:
        deadline = box._client.clock.now + shape.test_ends
        box._client.test_deadline = lambda: deadline
    # Random pauses would change the times and, now and then, the number of polls.
    with mock.patch("pytest_tlsandbox.client.retry._jitter") as jitter:
        jitter.uniform.return_value = 1.0
        try:
            shape.ask(box)
        except errors.TLSandboxError as error:
            return error
    message = "this shape does not fail"
    raise ValueError(message)


def kept(name: str) -> str:
    """Return the message of a shape as it is stored.

    For a shape in ``IN_ALL_SIZES``, return the messages of all sizes, each below a line with its
    size.
    """
    shape = SHAPES[name]
    sizes = [(columns, verbosity) for columns in WIDTHS for verbosity in VERBOSITIES]
    texts = "\n".join(
        f"=== {columns} columns, {VERBOSITIES[verbosity]}\n{failure(shape, columns, verbosity)}\n"
        for columns, verbosity in (sizes if name in IN_ALL_SIZES else [(80, 0)])
    )
    # The line number of a soft check changes with this file.
    return re.sub(r"^(  check \d+  shapes\.py:)\d+:", r"\1N:", texts, flags=re.MULTILINE)


def soft(*asks: Callable[[Any], object]) -> Callable[[Sandbox], None]:
    def ask(box: Sandbox) -> None:
        with box.soft() as check:
            for each in asks:
                each(check)

    return ask


BAD_GATEWAY = unreachable("502", "answered 502 with an HTML page (154 bytes)")
RESET = unreachable("reset", "cannot be reached: the connection was reset")

TRAIN = {"args": ("train.py", "--lr", "0.1", "--token=abc")}
JOB = raw(41, **TRAIN)
SERVE = raw(40, command="bash", args=("-lc", "./serve.sh"), started_at=T0 - 22_000)
SHELL = raw(52, command="sh", args=("-c", "python eat.py; true"), **ended(0, oom_killed=True))
EVAL = {"args": ("eval.py",)}
WORKER = raw(38, args=("worker.py", "--queue", "low"), **OOM)
SUSPENDED = errors.SandboxNotRunning(
    "Sandbox my-sandbox is suspended (409 SANDBOX_NOT_RUNNING)",
    label="409 suspended",
    transient=True,
)
TERMINATED = errors.SandboxNotRunning(
    "Sandbox my-sandbox is terminated (409 SANDBOX_NOT_RUNNING)",
    label="409 terminated",
)
REFUSED = errors.AuthenticationFailed(
    "my-sandbox rejected the API key (401 UNAUTHORIZED): invalid token",
    label="401 UNAUTHORIZED",
)
WEB = {"command": "gunicorn", "args": ("app:web", "--bind", "0.0.0.0:8080")}


def web(pid: int = 120, *, gone: dict[str, Any] | None = None, **supervised: Any) -> dict[str, Any]:
    """Return a managed process; a run with another pid starts 5 s after the first."""
    started_at = T0 + (5000 if pid > 120 else 0)
    return raw(
        pid, **WEB, started_at=started_at, **(gone or {}), managed=managed("web", **supervised)
    )


def again(pid: int, restarts: int, **end: Any) -> dict[str, Any]:
    """Return a managed process that was restarted this many times, with its last end."""
    return web(pid, restart_count=restarts, last_exit=last_end(**end))


def job(end: dict[str, Any]) -> dict[str, Any]:
    return raw(41, **TRAIN, **end)


def server(end: dict[str, Any] | None = None) -> dict[str, Any]:
    return raw(77, args=("server.py",), **(end or {}))


def exits(process: int | str, **options: Any) -> Callable[[Sandbox], object]:
    return lambda box: box.wait_for_exit(process, **options)


def last_end(**fields: Any) -> dict[str, Any]:
    return {"exit_code": None, "signal": None, "oom_killed": False, "ended_at": T0 + 4000, **fields}


def restarting(times: int) -> dict[float, Any]:
    """Return the script of a managed process that fails until its supervisor gives up."""
    script: dict[float, Any] = {}
    for run in range(times):
        over = "stopped" if run == times - 1 else "backing_off"
        policy = {"restart_count": run, "restart": {"policy": "always", "max_restarts": times - 1}}
        row = {**WEB, "started_at": T0 + run * 3000}
        end = ended(1, ended_at=row["started_at"] + 1500)
        last = last_end(exit_code=1, ended_at=end["ended_at"])
        before = {**last, "ended_at": row["started_at"] - 1500} if run else None
        alive = managed("web", last_exit=before, **policy)
        dead = managed("web", over, last_exit=last, last_error="exit status 1", **policy)
        script[run * 3.0] = [raw(120 + run, **row, managed=alive)]
        script[run * 3.0 + 1.5] = [raw(120 + run, **row, **end, managed=dead)]
    return script


HOSTILE = raw(
    66,
    command="/srv/\x1b[31mbin\x1b[0m/训练脚本.py",
    args=(
        "--title=two\nlines\tand a tab",
        "שלום עולם",
        "--name=\u202egnp.exe",
        "数据集" * 12,
        "e\u0301" * 20,
        "x" * 100_000,
    ),
)

SHAPES: dict[str, Shape] = {
    # ---------------------------------------------------------------- unexpected end
    "wrong_exit_code": Shape(
        {0: [SERVE, JOB], 8.1: [SERVE, job(ended(3))]}, exits(41, timeout=120), TRACEBACK
    ),
    "wrong_exit_code_of_a_shell": Shape(
        [raw(41, command="sh", args=("-c", "trian --lr 0.1"), **ended(127))],
        exits(41),
        ("sh: 1: trian: not found",),
    ),
    "crash_signal": Shape({0: [JOB], 2: [job(signaled(11))]}, exits(41, timeout=60), (), LONG_LOG),
    "ended_by_a_foreign_signal": Shape([job(signaled(15))], exits("train.py")),
    "ended_already": Shape(
        [server(ended(0))],
        lambda box: box.wait_for_process("server.py"),
        (),
        ("listening on 8080", "bye"),
    ),
    "unknown_end": Shape({0: [JOB], 1: [job(ended(-1))]}, exits(41, timeout=60)),
    "unknown_end_with_neither_code_nor_signal": Shape(
        [job(ended(None))], exits(41, exit_code="any")
    ),
    "port_closed": Shape(
        [server()], lambda box: box.wait_for_port(77, 8080), (), ("migrating",), ports={0: "closed"}
    ),
    "port_of_another_process": Shape(
        {0: [server()], 2: [server(ended(1))]},
        lambda box: box.wait_for_port(77, 8080),
        ("OSError: [Errno 98] Address already in use",),
        ports={0: "taken"},
    ),
    "port_without_a_tunnel": Shape(
        [server()],
        lambda box: box.wait_for_port(77, 8080),
        ports={0: errors.RequestRefused("my-sandbox has no tunnel to its ports", label="404")},
    ),
    "not_restarted": Shape([web()], lambda box: box.from_now().wait_for_restart("web", 2)),
    "too_few_running": Shape(
        [
            WORKER,
            raw(39, args=("worker.py", "--queue", "high")),
            raw(37, args=("worker.py",), **ended(1)),
        ],
        lambda box: box.wait_for_count("worker.py", 3),
        TRACEBACK,
    ),
    # -------------------------------------------------------------------- out of memory
    "oom_confirmed": Shape(
        {0: [SERVE, JOB], 8.1: [SERVE, job(OOM)]}, exits(41, timeout=120), LONG_LOG
    ),
    "oom_told_apart_from_an_earlier_one": Shape(
        {0: [WORKER, JOB], 0.05: [WORKER, job(OOM)]},
        lambda box: box.from_now().assert_no_oom(),
        LONG_LOG[:3],
    ),
    "oom_suspected": Shape(
        [SERVE, job(signaled(9))], lambda box: box.assert_no_oom(suspected=True)
    ),
    "oom_beside_a_suspicion": Shape(
        {0: [SERVE, JOB, raw(52, **EVAL)], 0.05: [SERVE, job(OOM), raw(52, **EVAL, **signaled(9))]},
        lambda box: box.from_now().assert_no_oom(),
    ),
    "oom_masked_by_a_restart": Shape(
        {0: [SERVE, web()], 0.05: [SERVE, again(131, 1, signal=9, oom_killed=True)]},
        lambda box: box.from_now().assert_no_oom(),
        ("[120] booting worker",),
    ),
    "oom_several": Shape(
        [WORKER, job(OOM), SHELL, again(131, 1, signal=9, oom_killed=True)],
        lambda box: box.assert_no_oom(),
        ("MemoryError: no memory for token=abc",),
    ),
    # ------------------------------------------------------------------------ timeouts
    "timed_out_still_running": Shape([SERVE, JOB], exits("train.py", timeout=10), (), LONG_LOG),
    "timed_out_before_pytest_timeout": Shape([JOB], exits(41, timeout=60), test_ends=30.0),
    "timed_out_unstable": Shape(
        {0: [web()], 1.5: [again(131, 1, exit_code=1)]},
        lambda box: box.wait_for_process("web", stable_for=3, timeout=4),
    ),
    "timed_out_unhealthy": Shape(
        {
            0: [web(health_status="starting")],
            1: [web(health_status="unhealthy", consecutive_health_failures=4)],
        },
        lambda box: box.wait_for_process("web", healthy=True, timeout=5),
        ("GET /health 503",) * 4,
    ),
    "timed_out_condition": Shape(
        [SERVE, JOB, raw(39, args=("prepare.py",), **ended(0))],
        lambda box: box.wait_until(three_running, timeout=5),
    ),
    "never_healthy": Shape([server()], lambda box: box.wait_for_process(77, healthy=True)),
    "output_not_written": Shape(
        [server()], lambda box: box.wait_for_output("server.py", "ready", timeout=5)
    ),
    "output_not_written_by_one_that_ended": Shape(
        {0: [server()], 2: [server(ended(1))]},
        lambda box: box.wait_for_output(77, "listening", timeout=30),
        ("OSError: [Errno 98] Address already in use",),
        ("binding port 8080",),
    ),
    # ---------------------------------------------------------- selection of a process
    "not_found_letters_swapped": Shape(
        [SERVE, job(ended(0))], lambda box: box.wait_for_process("trian.py", timeout=10)
    ),
    "not_found_other_port": Shape(
        [SERVE, raw(77, args=("-m", "http.server", "8081"))],
        lambda box: box.wait_for_process("http.server 8080", timeout=10),
    ),
    "not_found_ended_before_this_test": Shape(
        [SERVE, job(ended(0))], lambda box: box.from_now().wait_for_exit("train.py", timeout=10)
    ),
    "not_found_nothing_near": Shape(
        {0: [raw(number, args=(f"worker.py --number {number}",)) for number in range(30, 50)]},
        lambda box: box.wait_for_process("postgres", timeout=10),
    ),
    "not_found_nothing_listed": Shape([], lambda box: box.wait_for_process("postgres", timeout=10)),
    "gone": Shape({0: [SERVE, JOB], 2: [SERVE]}, exits(41, timeout=30)),
    "ambiguous": Shape(
        [raw(41, **TRAIN), raw(43, args=("train.py", "--lr", "0.2"), started_at=T0 + 1000)],
        exits("train.py"),
    ),
    # ------------------------------------------------------------------- inconclusive
    "not_checked": Shape({0: BAD_GATEWAY, 13: RESET}, exits(41, timeout=60)),
    "not_checked_after_a_good_look": Shape(
        {0: [SERVE, JOB], 4: BAD_GATEWAY}, exits(41, timeout=20)
    ),
    "outage_in_the_middle": Shape(
        {0: [JOB], 2: BAD_GATEWAY, 5: RESET, 7: [JOB], 9: [job(ended(1))]},
        exits(41, timeout=60),
        TRACEBACK,
    ),
    "suspended": Shape({0: SUSPENDED}, exits(41, timeout=10)),
    "suspended_in_the_middle": Shape({0: [JOB], 3: SUSPENDED, 12: [JOB]}, exits(41, timeout=20)),
    "terminated": Shape({0: [JOB], 3: TERMINATED}, exits(41, timeout=60)),
    "key_refused": Shape({0: REFUSED}, lambda box: box.list_processes()),
    "replaced": Shape(
        {0: [raw(41, handle=1)], 0.05: [raw(12, handle=1, started_at=T0 + 5000)]},
        lambda box: box.from_now().assert_no_oom(),
    ),
    "not_observed_a_row_that_cannot_be_read": Shape(
        [JOB, {"pid": 9, "status": "running", "args": ["--token=abc"]}],
        lambda box: box.assert_no_oom(),
    ),
    "not_observed_ends_behind_restarts": Shape(
        {0: [web()], 0.05: [again(133, 3, exit_code=1)]}, lambda box: box.from_now().assert_no_oom()
    ),
    "not_observed_after_an_outage": Shape(
        {0: [JOB], 0.05: BAD_GATEWAY, 2: [JOB, {"pid": 9, "status": "running", "args": []}]},
        lambda box: box.assert_no_oom(),
    ),
    # ------------------------------------------------------------- several failures
    "many_restarts": Shape(
        restarting(8),
        lambda box: box.wait_for_process("web", stable_for=2, timeout=60),
        ("ImportError: No module named app",),
    ),
    "stays_breached": Shape(
        {0: [JOB], 3: [job(ended(1))]},
        lambda box: box.assert_stays("train.py", stable_for=10),
        TRACEBACK,
    ),
    "stays_restarted": Shape(
        {0: [web()], 1: [again(131, 1, exit_code=1)]},
        lambda box: box.assert_stays("web", stable_for=5),
    ),
    "crashed": Shape(
        [job(signaled(11)), raw(52, command="./solver", args=(), **signaled(6))],
        lambda box: box.assert_no_crash(),
    ),
    "gave_up": Shape(
        {
            0: [web()],
            0.05: [
                web(
                    gone=ended(1),
                    status="stopped",
                    restart_count=1,
                    restart={"policy": "always", "max_restarts": 1},
                )
            ],
        },
        lambda box: box.from_now().assert_no_crash(),
        TRACEBACK,
    ),
    "restarted": Shape(
        {0: [web()], 0.05: [again(131, 2, exit_code=1)]},
        lambda box: box.from_now().assert_no_restart(),
    ),
    "unhealthy": Shape(
        [web(health_status="unhealthy", consecutive_health_failures=3)],
        lambda box: box.assert_no_incidents(),
        ("GET /health 503",) * 3,
    ),
    "mismatch_of_fields": Shape(
        [SERVE, web(restart_count=1)],
        lambda box: box.assert_process(
            "web", status="exited", exit_code=(0, 3), args=["app:web", "--token", "abc"]
        ),
    ),
    "still_running": Shape([SERVE, JOB], lambda box: box.assert_not_running("train.py")),
    "still_running_several": Shape(
        [JOB, raw(43, **TRAIN, started_at=T0 + 1000)],
        lambda box: box.assert_not_running("train.py"),
    ),
    "several_at_once": Shape(
        [SERVE, job(OOM), web(health_status="unhealthy")],
        soft(
            lambda check: check.assert_process(40, status="running"),
            lambda check: check.assert_process("train.py", status="exited", exit_code=0),
            lambda check: check.assert_no_oom(),
            lambda check: check.assert_no_restart(),
            lambda check: check.assert_process("trian.py", status="running"),
            lambda check: check.assert_not_running("serve.sh"),
            lambda check: check.assert_no_incidents("web"),
        ),
    ),
    "several_at_once_one_fails": Shape(
        {0: BAD_GATEWAY, 0.5: [SERVE, job(ended(3))]},
        soft(
            lambda check: check.assert_process(41, exit_code=0),
            lambda check: check.assert_no_crash(),
        ),
    ),
    "hostile_command_line": Shape(
        [HOSTILE, raw(67, command="שרת", args=("--פורט", "8080"))],
        exits(66, timeout=1),
        ("\x1b[31mred\x1b[0m\rover it", "שגיאה: 12", "\u202etxet", "数据" * 40, "y" * 5000),
    ),
    "hostile_command_line_not_found": Shape(
        [HOSTILE, raw(67, command="שרת", args=("--פורט", "8080"))],
        lambda box: box.wait_for_process("训练脚木.py", timeout=1),
    ),
}


def three_running(snapshot: Any) -> bool:
    return len(snapshot.alive) == 3


def write() -> None:
    """Write the message of every shape, and remove the files of other shapes."""
    FOLDER.mkdir(exist_ok=True)
    for left in FOLDER.glob("*.txt"):
        if left.stem not in SHAPES:
            left.unlink()
    for name in SHAPES:
        path = FOLDER / f"{name}.txt"
        before = path.read_text("utf-8") if path.exists() else ""
        after = kept(name)
        if after != before:
            path.write_text(after, "utf-8")
            print(f"written: {path.relative_to(FOLDER.parent)}")


if __name__ == "__main__":
    write()
