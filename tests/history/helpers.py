"""Create rows of a managed process, and histories and sandboxes that list these rows."""

from pytest_tlsandbox.history.history import History
from tests.support import T0, box_of, ended, managed, pass_time, raw, signaled, snapshot


def end_of(code, at):
    """Return the fields of an exit with ``code``, or, if negative, by signal ``-code``."""
    by_signal = code is not None and code < 0
    return signaled(-code, ended_at=T0 + at) if by_signal else ended(code, ended_at=T0 + at)


def last(code=None, at=9000, *, oom=False):
    """Return a ``last_exit``; as in :func:`end_of`, a negative code is a signal."""
    end = end_of(code, at)
    exit_code, signal = end.get("exit_code"), end.get("signal")
    return {"exit_code": exit_code, "signal": signal, "oom_killed": oom, "ended_at": T0 + at}


def web(pid, status="running", start=0, *, name="web", end=..., at=9000, **supervised):
    """Return a row of a managed process; ``end`` and ``at`` are the exit code and time, if any."""
    fields = {} if end is ... else end_of(end, at)
    supervisor = managed(name, status, **supervised)
    return raw(pid, name or "job", (), started_at=T0 + start, managed=supervisor, **fields)


def over(pid, status="stopped", start=0, code=1, count=0, **fields):
    """Return the row of a process that ended 9 s after its start and reports that exit."""
    at = start + 9000
    shown = {"end": code, "at": at, "restart_count": count, "last_exit": last(code, at), **fields}
    return web(pid, status, start, **shown)


def backing_off(pid, start, count, **fields):
    """Return the row of a process that exited with code 1 after 9 s and waits for its restart."""
    return over(pid, "backing_off", start, count=count, **fields)


def running(pid, start, count, **fields):
    """Return the row of a running process whose previous run exited 1 s before its start."""
    shown = {"restart_count": count, "last_exit": last(1, start - 1000), **fields}
    return web(pid, "running", start, **shown)


def watched(*lists):
    """Return a sandbox after one list call for each list; the test began at the first list."""
    box = box_of(dict(enumerate(lists))).from_now()
    for _ in lists:
        box.list_processes()
        pass_time(box)
    return box


def history_of(*steps):
    """Return a history after one step per second: a list call (its rows), or an own action."""
    clock = []
    history = History(lambda: float(len(clock)))
    for step in steps:
        if isinstance(step, list):
            history.fold(snapshot(*step, at=float(len(clock))))
        else:
            name, *values = step
            rows = (snapshot(value)[0] if isinstance(value, dict) else value for value in values)
            getattr(history, f"note_{name}")(*rows)
        clock.append(step)
    return history
