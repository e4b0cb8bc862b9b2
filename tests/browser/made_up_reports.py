"""Made-up reports for the page: builders of their parts, and a large report."""

from datetime import datetime, timedelta, timezone

START = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def at(seconds):
    """Return a time of the session in the form of a report."""
    time = START + timedelta(seconds=seconds)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def change(state, seconds, **fields):
    """Return a change of state that was observed 10 ms after it happened."""
    place = {"test": None, "attempt": None, "phase": None, "seen_at": at(seconds + 0.01)}
    if state == "not listed":
        return {"state": state, "at": None, **place}
    code = fields.get("exit_code", 0 if state == "exited" else None)
    return {
        "state": state, "text": f"exited {code}" if state == "exited" else state,
        "exit_code": code, "signal": None, "oom_killed": state == "oom_killed", "supervisor": None,
        "at": at(seconds), **place, **fields,
    }  # fmt: skip


def process(number, begun, *changes, **fields):
    """Return a process that started in the session, with its changes after the start."""
    return {
        "id": f"{number}/{1000 + number}/{begun}", "handle": number, "pid": 1000 + number,
        "sandbox": "box", "started_at": at(begun), "name": f"job-{number}.py", "managed": None,
        "command_line": f"python job-{number}.py --shard {number} of many --token=***",
        "before_the_session": False, "test": None, "output": None,
        "changes": [change("running", begun), *changes],
        **fields,
    }  # fmt: skip


def hog(number, begun, ended, **fields):
    """Return a process that was OOM-killed."""
    return process(number, begun, change("oom_killed", ended, signal=9), **fields)


def supervisor(restarts, **fields):
    """Return the state of a supervisor, as a change of its process has it."""
    return {"status": "running", "restarts": restarts, "health": "disabled", **fields}


def service(number, begun, *changes, restarts=0, name="web", **fields):
    """Return one run of a managed process, after this number of restarts."""
    managed = {"id": name, "name": name, "generation": name}
    run = process(number, begun, *changes, name=name, managed=managed, **fields)
    for one in run["changes"]:
        one["supervisor"] = one.get("supervisor") or supervisor(restarts)
    return run


def attempt(name, begun, ended, outcome="passed", **fields):
    """Return an attempt at a test."""
    times = {"started_at": at(begun), "ended_at": at(ended), "phases": [], "output_files": []}
    fields = {"cause": None, "failure": None, **fields}
    return {"id": name, "attempt": 1, "worker": None, "outcome": outcome, **times, **fields}


def failure(line, *more):
    """Return the failure of a test with the given first line and the lines before it."""
    return {"phase": "call", "line": line, "text": "\n".join([*more, f"E   {line}"])}


def cause(kind, of=None):
    """Return the cause of a failed test: what happened, and to which process."""
    name, process = (None, None) if of is None else (of["name"], of["id"])
    return {"kind": kind, "name": name, "process": process, "run": None, "certain": True}


def finding(rule, verdict, of, test, **fields):
    """Return a finding about a process, attributed to a test."""
    return {
        "rule": rule, "verdict": verdict, "what": "the sandbox says so", "observed": True,
        "headline": f"{verdict}: {of['name']}",
        "sandbox": of["sandbox"], "process": of["id"], "name": f"{of['name']} (pid {of['pid']})",
        "run": None, "test": test, "attempt": 1, "phase": "call", "worker": None, "at": at(1),
        "reported_in": "test", "allowed": None, **fields,
    }  # fmt: skip


def gap(*times, **fields):
    """Return the times in which a sandbox was not monitored, each with its start and end."""
    seen = [{"from_at": at(start), "to_at": end and at(end)} for start, end in times]
    return {
        "sandbox": "box", "worker": None, "why": "refused", "from_test": None, "to_test": None,
        "tests": 1, "open": False, "guarded": True, "times": seen, **fields,
    }  # fmt: skip


def outage(begun, ended, faults, test=None):
    """Return a time in which a sandbox did not answer."""
    what = {"sandbox": "box", "worker": None, "faults": faults, "test": test}
    return {**what, "from_at": at(begun), "to_at": at(ended)}


def report(seconds, processes, tests, **fields):
    """Return a report of a session of ``seconds``, in which OOM kills and crashes are incidents."""
    ends = [(row, row["changes"][-1]) for row in processes]
    kills = [finding("oom", "OOM-killed", row, None) for row, end in ends if end.get("oom_killed")]
    crashed = [row for row, end in ends if end.get("signal") in (6, 11)]
    crashes = [finding("crash", "Crashed", row, None) for row in crashed]
    names = dict.fromkeys(row["sandbox"] for row in processes) or ["box"]
    boxes = [{"name": name, "label": name, "shared": False, "memory_limit": None} for name in names]
    return {
        "version": 2, "started_at": at(0), "ended_at": at(seconds), "exit_status": 1, "complete": True,
        "versions": {"python": "3.11.7", "pytest_tlsandbox": "0.1.0", "pytest": "9.0.0"},
        "guard": {"rules": ["oom", "restart"], "report_only": False}, "workers": [],
        "sandboxes": boxes, "collection_errors": [], "incidents": kills + crashes, "findings": [],
        "unknown_ends": [], "gaps": [], "outages": [], "tests": tests, "processes": processes, **fields,
    }  # fmt: skip


def large():
    """Return a session of 2,000 tests and 1,000 processes; 100 are runs of ten that restart.

    Of the tests, 100 failed, each with a long traceback.
    """
    names = [f"tests/test_part_{n // 20}.py::test_number_{n}[several-parameters-{n}]" for n in range(2000)]  # fmt: skip
    processes = []
    for n in range(900):
        begun = n * 0.6
        ends = [
            change("exited", begun + 0.5 + n % 7), change("exited", begun + 3, exit_code=3),
            change("oom_killed", begun + 2, signal=9), change("signaled", begun + 9, signal=15),
        ]  # fmt: skip
        end = ends[0 if n % 10 else n // 10 % 4]
        processes.append(process(n, begun, *[end][n % 97 == 96 :], test=names[n]))
    for n in range(100):
        killed = change("oom_killed", n * 6 + 50, signal=9)
        run = service(1000 + n, n * 6, killed, restarts=n // 10, name=f"service-{n % 10}")
        processes.append(run)
    trace = [f"tests/conftest.py:{n}: in helper\n    return call({n})" for n in range(200)]
    lost = failure("ConnectionError: the connection was refused", *trace)
    tests = [attempt(name, n * 0.3, n * 0.3 + 0.29) for n, name in enumerate(names)]
    for test in tests[7::20]:
        test |= {"outcome": "failed", "failure": lost}
    killed = [row for row in processes if row["changes"][-1]["state"] == "oom_killed"]
    findings = [finding("oom", "OOM-killed", row, names[0]) for row in killed[:60]]
    return report(650, processes, tests, findings=findings)
