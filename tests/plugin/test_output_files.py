"""``--tlsandbox-output`` keeps the complete output of what a failed test started."""

import re

import pytest

from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.report import output_files
from pytest_tlsandbox.testing import ScriptedLister, row
from pytest_tlsandbox.testing.scripted_lister import STARTED_AT

from ..fault_proxy import FaultProxy
from ..report.read_report import read
from .inner import providing, run, run_apart

OUTPUT = "--tlsandbox-output=out"
FIRST = "Output that pytest-tlsandbox kept for a failed test"
LATE = "because the time limit after a failure had been reached"
GONE = "is not available, because the sandbox no longer lists this process"


def kept(folder):
    """Return the name of each file, with ``PID`` in place of the pid, and its lines."""
    texts = {path.name: path.read_text("utf-8").splitlines() for path in folder.iterdir()}
    return sorted((re.sub(r"\d+\.log$", "PID.log", name), lines) for name, lines in texts.items())


def test_complete_output_of_a_failed_test_is_stored_with_secrets_masked(pytester, connected):
    suite = """
        import os

        SECRET, KEY = "hun" + "ter2", os.environ["TENSORLAKE_API_KEY"]
        SAYS = f"echo API_KEY={SECRET}; echo {SECRET}-own; echo the key is {KEY}; echo bad >&2"
        AGAIN = {"policy": "on_failure", "max_restarts": 1, "initial_backoff_ms": 1}

        @pytest.fixture(scope="module", autouse=True)
        def server(tlsandbox_session):
            tlsandbox_session.start_process("sh", ["-c", "echo up; exec sleep 60", "server"])

        def test_passes(tlsandbox): tlsandbox.run_process("echo", ["passed"])
        def test_guard(tlsandbox): crash(tlsandbox)
        def test_fails(tlsandbox):
            tlsandbox.start_process("sh", ["-c", "echo up >&2; exec sleep 60", f"--token={SECRET}"])
            tlsandbox.start_process("sh", ["-c", "echo 1; exit 1"], name="web", restart=AGAIN)
            tlsandbox.wait_for_restart("web")
            tlsandbox.wait_until(lambda seen: seen.where(name="web")[-1].ended)
            tlsandbox.run_process("sh", ["-c", f"seq 20000; {SAYS}; exit 3", "job"])

        @pytest.mark.xfail
        def test_xfails(tlsandbox): tlsandbox.run_process("false")

        @pytest.fixture
        def broken(tlsandbox):
            tlsandbox.start_process("sleep", ["60"])
            assert False

        def test_setup(broken): pass
    """
    pytester.makeini("[pytest]\ntlsandbox_output = new/out\ntlsandbox_mask = hunter2-o.n")
    result = run(pytester, suite, "--tlsandbox-guard=crash", "--tlsandbox-report=a/r.json")
    result.assert_outcomes(passed=1, failed=2, errors=1, xfailed=1)
    files = [*(pytester.path / "new" / "out").iterdir()]
    written = "".join(path.read_text() for path in files)
    assert not any(secret in written for secret in ("hunter2", connected.api_key.reveal()))
    (name, lines), *found = kept(pytester.path / "new" / "out")
    assert name == "test_it.py-test_fails-job-PID.log"
    assert lines[:2] == [FIRST, "test: test_it.py::test_fails"]
    command = r"process: sh -c seq .* API_KEY=\*\*\*; .* job \(pid \d+ in my-sandbox\)"
    assert re.fullmatch(command, lines[2])
    shown = [*map(str, range(1, 20_001)), "API_KEY=***", "***", "the key is ***"]
    assert lines[3:] == ["--- stdout has 20003 lines", *shown, "--- stderr has 1 line", "bad"]
    silent = ["--- stdout has 0 lines", "--- stderr has 0 lines"]
    assert sorted((name.removeprefix("test_it.py-"), lines[3:]) for name, lines in found) == [
        ("test_fails-token=-PID.log", ["--- stdout has 0 lines", "--- stderr has 1 line", "up"]),
        ("test_fails-web-PID.log", ["--- stdout has 1 line", "1", "--- stderr has 0 lines"]),
        ("test_fails-web-PID.log", [f"--- stdout {GONE}", f"--- stderr {GONE}"]),
        ("test_guard-here-PID.log", silent),
        ("test_setup-sleep-PID.log", silent),
    ]
    assert result.stdout.str().count("- complete output -") == 3
    assert {*map(str, files)} <= {*result.outlines}
    tests = read(pytester.path / "a" / "r.json")["tests"]
    linked = {test["id"][12:]: sorted(test["output_files"]) for test in tests}
    names = sorted(f"../new/out/{path.name}" for path in files if "test_fails" in path.name)
    assert linked.pop("test_fails") == names
    numbers = {name: len(paths) for name, paths in linked.items()}
    assert numbers == {"test_passes": 0, "test_xfails": 0, "test_setup": 1, "test_guard": 1}


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("workers", ["-n0", pytest.param("-n2", marks=pytest.mark.slow)])
def test_every_failed_attempt_of_every_test_has_its_own_files(pytester, workers):
    suite = r"""
        NAMES = ["", "../../etc/a b", "ä/\x00\n", "x" * 2000, "x" * 2000 + "y", "CON:*?", "-"]

        @pytest.mark.parametrize("name", NAMES, ids=lambda name: name or "none")
        def test_it(tlsandbox, name):
            tlsandbox.run_process("sh", ["-c", f"echo this is {NAMES.index(name)}; exit 1"])
    """
    again = ("-p", "rerunfailures", "--reruns=1")
    result = run_apart(pytester, suite, OUTPUT, "--tlsandbox-no-section", workers, *again)
    outcomes = result.parseoutcomes()
    assert (outcomes["failed"], outcomes["rerun"]) == (7, 7)
    files = [*(pytester.path / "out").iterdir()]
    assert all(re.fullmatch(r"[A-Za-z0-9._=-]{1,200}", path.name) for path in files)
    texts = [path.read_text("utf-8") for path in files]
    assert sorted(re.findall(r"\nthis is (\d)\n", "".join(texts))) == sorted("0123456" * 2)
    assert all(text.count(FIRST) == 1 for text in texts)


@pytest.mark.usefixtures("connected")
def test_files_from_an_earlier_session_are_removed_but_no_other_file_is_touched(pytester):
    suite = """
        def test_it(tlsandbox, pytestconfig):
            job = tlsandbox.run_process("echo", ["a"])
            name = f"test_it.py-test_it-echo-{job.pid}.log"
            (pytestconfig.rootpath / "out" / name).write_text("mine")
            assert False
    """
    folder = pytester.path / "out"
    folder.mkdir()
    (folder / "empty.log").touch()
    for number in (1, 2):
        assert run(pytester, suite, OUTPUT).ret == 1
        texts = [path.read_text() for path in folder.iterdir()]
        assert sorted(text.partition("\n")[0] for text in texts) == ["", FIRST, *["mine"] * number]
        names = {path.name for path in folder.iterdir()}
        assert len([name for name in names if name.endswith("-2.log")]) == 1
    for option in ("--collect-only", "no_such_file.py"):
        pytester.runpytest_inprocess(OUTPUT, option)
        assert {path.name for path in folder.iterdir()} == names


def test_slow_sandbox_delays_a_failed_test_only_until_a_deadline(pytester, box, monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.report.output_files._LONGEST", 0.3)
    suite = """
        from tests.fault_proxy import faults

        def test_it(tlsandbox_connect, provided):
            for _ in range(3):
                tlsandbox_connect(provided).run_process("echo", ["a"])
            provided.fail(faults.HANG_IN_BODY, times=1)
            assert False, "of the test"
    """
    pytester.makepyfile(suite)
    with FaultProxy(box) as proxy:
        options = OUTPUT, "--tlsandbox-no-section"
        result = pytester.runpytest_inprocess(*options, plugins=[providing(proxy)])
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *AssertionError: of the test"])
    texts = [path.read_text().partition(")\n")[2] for path in (pytester.path / "out").iterdir()]
    assert len(texts) == 3
    assert len(re.findall("--- stdout could not be read: .* did not answer ", "".join(texts))) == 1
    assert sum(f"--- stderr was not read, {LATE}\n" in text for text in texts) == 3


@pytest.mark.usefixtures("connected")
def test_folder_that_cannot_be_written_is_reported_below_the_failure(pytester):
    suite = """
        def test_it(tlsandbox, pytestconfig):
            tlsandbox.run_process("echo")
            (pytestconfig.rootpath / "out").write_text("mine")
            assert False, "of the test"
    """
    result = run(pytester, suite, OUTPUT)
    result.assert_outcomes(failed=1)
    problem = f"{pytester.path}/out cannot be written: File exists"
    result.stdout.fnmatch_lines(["E *of the test", problem])
    assert (pytester.path / "out").read_text() == "mine"


def started_by(lister):
    run = lister.history.note_start(lister.start({"command": "python", "args": ["train.py"]}))
    lister.poll()
    return run


def output_of(run, lister, stream, deadline):
    """Return what the file contains about a stream."""
    lister.poll()
    return "".join(output_files._output(run, run.row, stream, lister, deadline))


def test_output_from_another_process_with_the_same_pid_is_not_attributed_to_the_first():
    job = row(41, status="exited", exit_code=0)
    later = row(41, handle=9, started_at=STARTED_AT + 5000)
    lister = ScriptedLister({0: [job], 1: [job, later]}, output={41: {"stdout": ["of later"]}})
    run = started_by(lister)

    deadline = Clock.monotonic() + 9
    assert output_of(run, lister, "stdout", deadline) == "--- stdout has 1 line\nof later\n"
    lister.clock.now += 1
    assert output_of(run, lister, "stdout", deadline) == f"--- stdout {GONE}\n"
    assert not run.gone


def test_output_that_takes_too_long_to_mask_is_cut_and_the_file_says_so(monkeypatch):
    lister = ScriptedLister({0: [row(41)]}, output={41: {"stdout": list("abcdefg")}})
    run, clock = started_by(lister), lister.clock

    def mask_slowly(line):
        clock.now += 1
        return line

    monkeypatch.setattr(output_files, "Clock", clock)
    monkeypatch.setattr(output_files, "mask_text", mask_slowly)
    deadline = clock.now + 2.5
    shown = f"--- stdout has 7 lines\na\nb\nc\n--- 4 more lines left out, {LATE}\n"
    assert output_of(run, lister, "stdout", deadline) == shown
    assert output_of(run, lister, "stderr", deadline) == f"--- stderr was not read, {LATE}\n"
