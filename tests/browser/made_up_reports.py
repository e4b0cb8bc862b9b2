"""Invented reports for the page, as large and as hostile as reports can be."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

START = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def at(seconds: float) -> str:
    """Return a time of the session in the form of a report."""
    time = START + timedelta(seconds=seconds)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def change(state: str, seconds: float, **fields: Any) -> dict[str, Any]:
    """Return a change of state that was observed 10 ms after it happened."""
    place = {"test": None, "attempt": None, "phase": None, "seen_at": at(seconds + 0.01)}
    if state == "not listed":
        return {"state": state, "at": None, **place}
    return {
        "state": state,
        "text": {"exited": f"exited {fields.get('exit_code', 0)}"}.get(state, state),
        "exit_code": 0 if state == "exited" else None,
        "signal": None,
        "oom_killed": state == "oom_killed",
        "supervisor": None,
        "at": at(seconds),
        **place,
        **fields,
    }


def process(number: int, begun: float, *changes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a process that started in the session, with its changes after the start."""
    return {
        "id": f"{number}/{1000 + number}/{begun}",
        "sandbox": "box",
        "handle": number,
        "pid": 1000 + number,
        "started_at": at(begun),
        "name": f"job-{number}.py",
        "managed": None,
        "command_line": f"python job-{number}.py --shard {number} of many --token=***",
        "before_the_session": False,
        "test": None,
        "changes": [change("running", begun), *changes],
        "output": None,
        **fields,
    }


def attempt(name: str, begun: float, ended: float, outcome: str = "passed", **fields: Any) -> Any:
    """Return an attempt at a test."""
    return {
        "id": name,
        "attempt": 1,
        "worker": None,
        "outcome": outcome,
        "started_at": at(begun),
        "ended_at": at(ended),
        "phases": [],
        **fields,
    }


def finding(rule: str, verdict: str, of: dict[str, Any], test: str | None, **fields: Any) -> Any:
    """Return a finding about a process, attributed to a test."""
    return {
        "rule": rule,
        "verdict": verdict,
        "observed": True,
        "sandbox": of["sandbox"],
        "process": of["id"],
        "run": None,
        "name": f"{of['name']} (pid {of['pid']})",
        "what": "the sandbox says so",
        "test": test,
        "attempt": 1,
        "phase": "call",
        "worker": None,
        "reported_in": "test",
        "allowed": None,
        "at": at(1),
        **fields,
    }


def report(seconds: float, processes: list[Any], tests: list[Any], **fields: Any) -> dict[str, Any]:
    """Return a report of a session that lasted ``seconds``."""
    names = dict.fromkeys(["box", *(row["sandbox"] for row in processes)])
    return {
        "version": 1,
        "versions": {"python": "3.11.7", "pytest_tlsandbox": "0.1.0", "pytest": "9.0.0"},
        "started_at": at(0),
        "ended_at": at(seconds),
        "exit_status": 1,
        "complete": True,
        "guard": {"rules": ["oom", "restart"], "report_only": False},
        "workers": [],
        "sandboxes": [{"name": name, "label": name, "shared": False} for name in names],
        "collection_errors": [],
        "tests": tests,
        "processes": processes,
        "incidents": [],
        "findings": [],
        "unknown_ends": [],
        "gaps": [],
        "outages": [],
        **fields,
    }


def large() -> dict[str, Any]:
    """Return a session of 2,000 tests and 1,000 processes; 100 are runs of ten that restart."""
    processes = []
    for number in range(900):
        begun = number * 0.6
        end = [
            change("exited", begun + 0.5 + number % 7),
            change("exited", begun + 3, exit_code=3),
            change("oom_killed", begun + 2, signal=9),
            change("signaled", begun + 9, signal=15, text="signaled 15 (SIGTERM)"),
        ][0 if number % 10 else number // 10 % 4]
        name = (
            f"tests/test_part_{number // 20}.py::test_number_{number}[several-parameters-{number}]"
        )
        ends = [] if number % 97 == 96 else [end]
        processes.append(process(number, begun, *ends, test=name))
    for number in range(100):
        begun = number * 6
        of = number % 10
        managed = {"id": f"service-{of}", "name": f"service-{of}"}
        supervisor = {"status": "running", "restarts": number // 10, "health": "disabled"}
        changes = [
            change("running", begun, supervisor=supervisor),
            change("oom_killed", begun + 50, supervisor=supervisor, signal=9),
        ]
        processes.append(
            process(1000 + number, begun, name=f"service-{of}", managed=managed)
            | {"changes": changes}
        )
    tests = [
        attempt(
            f"tests/test_part_{number // 20}.py::test_number_{number}[several-parameters-{number}]",
            number * 0.3,
            number * 0.3 + 0.29,
            "failed" if number % 100 == 7 else "passed",
        )
        for number in range(2000)
    ]
    killed = [row for row in processes if row["changes"][-1]["state"] == "oom_killed"]
    findings = [finding("oom", "OOM-killed", row, tests[0]["id"]) for row in killed[:60]]
    return report(650, processes, tests, findings=findings)
