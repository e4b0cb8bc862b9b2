"""The report: every process seen, every change of its state, the test each belongs to."""

import re

import pytest

from pytest_tlsandbox.report.timeline import timeline_of

from ..report.read_report import read
from .inner import run, run_apart, summary, unused_url, usage_error_of

SUITE = """
        @pytest.fixture(scope="session")
        def server(tlsandbox_session):
            return tlsandbox_session.start_process("sleep", ["60"], name="server")

        def test_uses_a_server(server): pass
        def test_is_killed(tlsandbox): be_killed(tlsandbox)
        def test_starts_a_job(tlsandbox):
            run(tlsandbox, "sh", ["-c", "exit 3", "reported.py", "--token=tl_secret"])

        @pytest.mark.tlsandbox_allow("crash", reason="part of the test")
        def test_crashes(tlsandbox): crash(tlsandbox)

        @pytest.mark.skip
        def test_skipped(): pass

        @pytest.mark.xfail
        def test_xfails(): assert False
"""
NAMES = "uses_a_server", "starts_a_job", "is_killed", "crashes", "teardown_fails"
SERVER, JOB, KILLED, CRASHED, LAST = (f"test_it.py::test_{name}" for name in NAMES)

REPORT = "--tlsandbox-report=out.json"
EARLIER = '{"version": 1, "versions": {"pytest_tlsandbox": "0.1"}}'


STEP_SUMMARY = """\
### tlsandbox guard

```text
2 findings: 1 fails a test, 1 allowed
test_it.py::test_is_killed - OOM-killed: python -c
test_it.py::test_crashes - Crashed with SIGSEGV: here, allowed: part of the test
```

"""


def test_report_contains_each_process_with_its_changes_and_test(pytester, elsewhere, monkeypatch):
    step_summary = pytester.path / "summary.md"
    step_summary.write_text("of another step\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step_summary))
    old = elsewhere.start_process("sh", ["-c", "exit 1", "older"])
    elsewhere.wait_for_exit(old, exit_code=1)
    outcomes = """
        @pytest.mark.xfail
        def test_xpasses(): pass

        @pytest.fixture
        def broken():
            yield
            assert False

        def test_fails_twice(tlsandbox, broken):
            run(tlsandbox, "sh", ["-c", "exit 3", "job.sh"])
            print("of the test")
            raise OSError("--token=" + "_".join(["tl", "secret"]))

        def test_teardown_fails(broken): pass
    """
    options = "--tlsandbox-guard=oom,crash", "--tlsandbox-report=a/b.json"
    result = run(pytester, SUITE + outcomes, *options)
    assert result.ret == 1
    path = pytester.path / "a" / "b.json"
    report = read(path)
    assert summary(result)[-1] == f"tlsandbox report: {path}"
    assert step_summary.read_text() == "of another step\n" + STEP_SUMMARY
    assert {test["id"]: test["outcome"] for test in report["tests"]} == {
        SERVER: "passed", JOB: "passed", KILLED: "failed", CRASHED: "passed",
        "test_it.py::test_skipped": "skipped", "test_it.py::test_xfails": "xfailed",
        "test_it.py::test_xpasses": "xpassed", "test_it.py::test_fails_twice": "failed",
        LAST: "error",
    }  # fmt: skip
    for test in report["tests"]:
        assert report["started_at"] <= test["started_at"] <= test["ended_at"] <= report["ended_at"]
        call = [] if test["outcome"] == "skipped" else ["call"]
        assert [phase["name"] for phase in test["phases"]] == ["setup", *call, "teardown"]
    assert report["guard"] == {"rules": ["oom", "crash"], "report_only": False}
    small = {"name": "small", "label": "small", "shared": False, "memory_limit": None}
    assert report["sandboxes"] == [{**small, "no_kernel_counter": None}]
    failures = [test["failure"] for test in report["tests"] if test["failure"] is not None]
    lines = ["OOM-killed: python -c", "OSError: --token=***", "assert False"]
    assert [failure["line"] for failure in failures] == lines
    assert [failure["phase"] for failure in failures] == ["call", "call", "teardown"]
    shown = r"\ntest_it.py:\d+: OSError\n\nsandbox during this test:\n.* Exited 3: job\.sh$"
    assert re.search(shown, failures[1]["text"])
    assert (report["workers"], report["gaps"], report["complete"]) == ([], [], True)
    assert report["versions"]["pytest"] == pytest.__version__

    rows = {row["pid"]: row for row in report["processes"]}
    assert (rows[old.pid]["before_the_session"], rows[old.pid]["test"]) == (True, None)
    [server] = [row for row in rows.values() if row["test"] == SERVER]
    assert server["managed"] == {"id": "server", "name": "server", "generation": server["id"]}
    # It ended in the tear-down of the last test, with its session.
    begun, ended = server["changes"]
    assert (begun["state"], ended["state"]) == ("running", "signaled")
    assert (ended["test"], ended["phase"]) == (LAST, "teardown")
    [job] = [row for row in rows.values() if row["test"] == JOB]
    assert job["command_line"] == "sh -c exit 3 reported.py --token=***"
    assert "tl_secret" not in path.read_text()
    end = job["changes"][-1]
    assert (end["text"], end["exit_code"]) == ("exited 3", 3)
    assert (end["test"], end["phase"]) == (JOB, "call")
    # By the clock of the sandbox, and by the clock of this machine.
    assert job["started_at"] <= end["at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", end["seen_at"])


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("workers", ["-n0", pytest.param("-n1", marks=pytest.mark.slow)])
def test_report_alone_fails_no_test_and_prints_only_its_path(pytester, monkeypatch, workers):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    result = run_apart(pytester, SUITE, "-v", REPORT, workers)

    path = pytester.path / "out.json"
    assert result.ret == 0
    assert summary(result) == []
    assert "OOM" not in result.stdout.str()
    assert not (pytester.path / "summary.md").exists()
    assert result.stdout.str().count(f"tlsandbox report: {path}") == 1
    report = read(path)
    assert (report["guard"]["rules"], report["findings"]) == ([], [])
    [section] = timeline_of(report)["sections"]
    kinds = [[mark["kind"] for mark in row["marks"]] for row in section["rows"] if row["marks"]]
    assert kinds == [["oom"], ["crash"]]
    ends = {row["test"]: row["changes"][-1]["state"] for row in report["processes"]}
    assert (ends[JOB], ends[KILLED], ends[CRASHED]) == ("exited", "oom_killed", "signaled")


@pytest.mark.usefixtures("limited")
def test_report_records_monitoring_gaps_without_failing_tests(pytester, monkeypatch):
    monkeypatch.setenv("TENSORLAKE_SANDBOX_PROXY_URL", unused_url())
    pytester.makepyfile(test_it="def test_a(): pass\ndef test_b(): pass")
    result = pytester.runpytest_inprocess(REPORT)
    assert result.ret == 0
    report = read(pytester.path / "out.json")
    [gap], [outage] = report["gaps"], report["outages"]
    [time] = gap["times"]
    assert time["from_at"] <= outage["from_at"] < outage["to_at"]
    assert (outage["sandbox"], outage["test"]) == ("small", "test_it.py::test_a")
    assert re.fullmatch(r"refused( x\d+)?", outage["faults"])
    assert gap["why"] == "small cannot be reached: the connection was refused"
    assert (gap["from_test"], gap["to_test"], gap["tests"]) == ("test_it.py::test_a", None, 2)
    assert (time["to_at"], gap["open"], gap["guarded"]) == (None, True, False)


@pytest.mark.usefixtures("limited")
def test_unwritable_report_fails_an_otherwise_passing_session(pytester):
    pytester.makepyfile("import os\ndef test_it(): os.makedirs('out.json/a')")
    result = pytester.runpytest_inprocess(REPORT)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*/out.json could not be written: Is a directory"])
    assert [path.name for path in pytester.path.iterdir() if "out" in path.name] == ["out.json"]


def test_old_report_is_removed_if_the_test_run_crashes(pytester):
    (pytester.path / "out.json").write_text(EARLIER)
    pytester.makepyfile("import os\ndef test_it(): os._exit(3)")
    assert pytester.runpytest_subprocess(REPORT).ret == 3
    assert not (pytester.path / "out.json").exists()


STOPS = ["--collect-only", "--fixtures", "--help", "no_such_file.py", "test_bad.py"]


@pytest.mark.parametrize("option", STOPS)
def test_old_report_is_kept_if_the_test_run_executes_no_tests(pytester, option):
    (pytester.path / "out.json").write_text(EARLIER)
    bad = "import pytest\n@pytest.mark.tlsandbox_guard('omm')\ndef test_it(): pass"
    pytester.makepyfile(test_it="def test_it(): pass", test_bad=bad)
    files = () if option.endswith(".py") else ("test_it.py",)
    result = pytester.runpytest_inprocess(REPORT, option, *files)
    assert result.ret == (pytest.ExitCode.OK if files else pytest.ExitCode.USAGE_ERROR)
    assert "tlsandbox report" not in result.stdout.str()
    assert (pytester.path / "out.json").read_text() == EARLIER


def test_existing_file_that_is_not_a_report_is_not_overwritten(pytester):
    victim = pytester.makepyfile(test_it="def test_it(): pass")
    result = pytester.runpytest_inprocess("--tlsandbox-report=test_it.py")
    assert usage_error_of(result) == (
        "--tlsandbox-report: 'test_it.py' cannot be written: the file exists but is not a report "
        "of this plugin; remove the file, or give another path"
    )
    assert victim.read_text() == "def test_it(): pass"


@pytest.mark.parametrize("name", ["r.json", "r.html"])
def test_existing_report_or_empty_file_is_overwritten(pytester, name):
    pytester.makepyfile("def test_it(): pass")
    (pytester.path / name).touch()
    for _ in range(2):
        assert pytester.runpytest_inprocess(f"--tlsandbox-report={name}").ret == 0
        assert (pytester.path / name).stat().st_size
