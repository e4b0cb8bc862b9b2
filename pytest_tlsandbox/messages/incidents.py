"""Describe incidents and the runs that they affect."""

from __future__ import annotations

from dataclasses import replace

from pytest_tlsandbox.formatting.processes import list_texts, named, short_name, signal_name
from pytest_tlsandbox.formatting.text import count, cut, moment, seconds
from pytest_tlsandbox.history import incidents as kinds
from pytest_tlsandbox.history.incidents import Incident
from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.models import ManagedProcess, ProcessInfo
from pytest_tlsandbox.redact import mask_text


def shown_row(run: Run) -> ProcessInfo:
    """Return a row that identifies the process of a run, even if the run itself was never listed.

    If the run was never listed, return the row of the next run that was listed. If no later run was
    listed, return the row of the newest run that was listed.
    """
    runs = run.generation.runs
    in_order = (*runs[runs.index(run) :], *reversed(runs))
    return next(member.row for member in in_order if member.row is not None)


def ended_row(run: Run) -> ProcessInfo | None:
    """Return the row of a run, and add all known facts about the end of the run.

    If the exit of the run is known only from the supervisor, the returned row contains the exit
    that the supervisor reported. If the exit of the run is not known, but the process has a later
    run, the returned row has the status "ended". The result is None if the run was never listed.
    """
    row, end = run.row, run.end
    if row is None or row.ended:
        return row
    if end is None:
        return row if run.successor is None else replace(row, status="ended")
    code, signal, oom, at, child = end
    status = "exited" if signal is None else "signaled"
    status = "oom_killed" if oom and not child else status
    return replace(row, status=status, exit_code=code, signal=signal, oom_killed=oom, ended_at=at)


def run_label(run: Run) -> str:
    """Return a label such as "first run", "restart 2" or, for hidden runs, "restarts 2 to 4".

    The label is empty if the process was never restarted.
    """
    if run.generation.id is None or (run.number == 0 and run.successor is None):
        return ""
    if run.times > 1:
        return f"restarts {run.number} to {run.number + run.times - 1}"
    return f"restart {run.number}" if run.number else "first run"


def name_of(run: Run) -> str:
    """Return the name of a run without its pid, such as "train.py" or "web, restart 2"."""
    return ", ".join(filter(None, (short_name(shown_row(run)), run_label(run))))


def run_name(run: Run) -> str:
    """Return the name of a run, such as "train.py (pid 41)" or, for an older run, "web, restart 2".

    If the newest run was never listed, the name contains the label of the run instead of a pid.
    """
    newest_is_listed = run.successor is None and run.row is not None
    return named(shown_row(run)) if newest_is_listed or not run_label(run) else name_of(run)


def describe_run(run: Run) -> str:
    """Return the pid and the label of a run, how the run ended, and how long it ran."""
    row, end, label = run.row, run.end, run_label(run)
    pid = f"pid {row.pid}" if row else "no list call saw it, so its pid is not known"
    ended, ran = "ended (cause unknown)" if end is None else str(end), ""
    if end is not None and end.ended_at is not None:
        ended += f" at {moment(end.ended_at)} UTC"
        ran = f"ran {seconds((end.ended_at - row.started_at).total_seconds())}" if row else ""
    parts = (f"{pid} ({label})" if label else pid, ended, ran, aftermath(run))
    return ", ".join(filter(None, parts))


def lifetime(row: ProcessInfo) -> str:
    """Return how long an ended process ran, or the time at which a living process started."""
    if row.lifetime is not None and row.ended_at is not None:
        return f"ran {seconds(row.lifetime.total_seconds())} until {moment(row.ended_at)} UTC"
    return f"started {moment(row.started_at)} UTC"


def describe_supervisor(managed: ManagedProcess) -> str:
    """Return a description of a supervisor's state, or "" if it does not explain a failure."""
    sound = managed.health_status in ("disabled", "healthy")
    if sound and not managed.restart_count and not managed.last_error:
        return ""
    parts = [managed.status]
    if managed.restart_count:
        parts.append(count(managed.restart_count, "restart"))
        if managed.restart is not None:
            limit = managed.restart.max_restarts
            parts[-1] += "" if limit is None else f" (limit: {limit})"
            parts.append(f"policy: {managed.restart.policy}")
    if managed.health_status != "disabled":
        check = f" ({mask_text(managed.health_check)})" if managed.health_check else ""
        parts.append(f"health: {managed.health_status}{check}")
    if managed.last_error:
        parts.append(f"last error: {cut(mask_text(managed.last_error), 120)}")
    return ", ".join(parts)


def aftermath(run: Run) -> str:
    """Return what happened after the end of a run, for example "restarted as pid 42".

    The text is empty if nothing happened.
    """
    successor = run.successor
    if successor is None:
        return ""
    return "restarted" if successor.row is None else f"restarted as pid {successor.row.pid}"


def used_restarts(number: int, managed: ManagedProcess | None = None) -> str:
    """Return a text about a supervisor that gave up, such as "5 of 5 restarts used".

    Without the limit of the supervisor, the text is such as "its supervisor gave up after 5
    restarts".
    """
    limit = managed.restart.max_restarts if managed and managed.restart else None
    if number == limit:
        return f"{number} of {limit} restarts used"
    return f"its supervisor gave up after {count(number, 'restart')}"


def headline_of(incident: Incident) -> str:
    """Return a headline for an incident, such as "Crashed with SIGSEGV"."""
    return _headline_and_description(incident)[0]


def describe(incident: Incident) -> str:
    """Return what happened to a run, including the evidence and what happened next."""
    text = _headline_and_description(incident)[1]
    is_complete = incident.kind in (kinds.UNSEEN_END, kinds.LEAK)
    after = "" if is_complete else aftermath(incident.run)
    return f"{text}, {after}" if after else text


def _headline_and_description(incident: Incident) -> tuple[str, str]:
    kind, run = incident.kind, incident.run
    end, managed = run.end, run.generation.managed
    ended = "Ended" if end is None else end.headline
    restarted = f"{ended}, then restarted" if run.successor is not None else ended
    if run.running_then is not None:
        counted = "the kernel counted an OOM kill of a process that the sandbox does not list"
        running = list_texts([named(row) for row in run.running_then]) or "no listed process"
        if kind == kinds.OOM:
            return "OOM-killed", f"{counted}; running then: {running}"
        shared = "the sandbox may share this kernel with others"
        return "Possibly OOM-killed", f"{counted}, and {shared}; running then: {running}"
    if kind == kinds.OOM and end and not end.oom_killed:
        return "OOM-killed", f"{end}, and the kernel counted an OOM kill"
    if kind == kinds.OOM:
        return restarted, "a child was OOM-killed" if end and end.child else "OOM-killed"
    if kind == kinds.CRASH:
        return restarted, f"crashed with {signal_name((end and end.signal) or 0)}"
    if kind == kinds.SUSPECTED_OOM:
        by, evidence = ended, "exited 137, as a shell does if SIGKILL ended its child"
        if end and end.signal is not None:
            by = f"{ended} (not by this test)"
            evidence = "killed by a SIGKILL that this plugin did not send"
        return f"{by}, possibly an OOM kill", evidence
    if kind == kinds.GAVE_UP:
        number = run.number if managed is None or run.successor else managed.restart_count
        return f"{ended} ({used_restarts(number, managed)})", used_restarts(number)
    if kind == kinds.UNHEALTHY:
        failures = managed.consecutive_health_failures if managed else 0
        check = f" ({mask_text(managed.health_check)})" if managed and managed.health_check else ""
        if not failures:
            return f"Unhealthy{check}", "its health check fails"
        in_a_row = " in a row" if failures > 1 else ""
        after = f"after {count(failures, 'failed health check')}{in_a_row}"
        return f"Unhealthy {after}{check}", f"{count(failures, 'health check')}{in_a_row} failed"
    if kind == kinds.LEAK:
        return "Left running", "it began in this test and runs after its teardown"
    if kind == kinds.LOST_END:
        return "End not known", "the sandbox lost its exit code"
    if kind == kinds.UNSEEN_END and run.is_newest:
        return "End not seen", "it was alive and is no longer listed"
    if kind == kinds.UNSEEN_END:
        often = "it" if run.times == 1 else f"{run.times} runs"
        gap = "between two list calls, and the sandbox reports only how the last run ended"
        return "End not seen", f"{often} ended {gap}"
    if end is not None:
        return restarted, str(end)
    unseen = "ended (cause unknown)" if run.times == 1 else f"{run.times} runs ended unseen"
    return "Restarted", unseen
