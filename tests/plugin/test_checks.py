"""``pytest --pyargs pytest_tlsandbox.checks``: check a deployment without writing test code."""

import contextlib
import re
import time

import pytest

from tests.client.servers import Server, reply

from ..guard.guarded_box import oom
from ..support import ended, managed, raw, sample_of, signaled
from .inner import unused_url

# Run the installed package, because a user does not have the conftest of this checkout.
CHECKS = ("--pyargs", "pytest_tlsandbox.checks", "--noconftest")


@pytest.fixture
def checked(pytester, monkeypatch):
    """Return a function that runs the checks on the sandboxes of one host, which list these rows.

    ``delay`` is the time that each answer takes. The function also returns the time of each request.
    """

    def run(rows, delay=0.0):
        asked = []

        def script(request):
            asked.append(time.monotonic())
            name = request.headers["host"].partition(".")[0]
            return [delay, reply(200, {"processes": rows.get(name, [])})]

        monkeypatch.setenv("TENSORLAKE_API_KEY", "any")
        monkeypatch.setenv("TLSANDBOX", " ".join(rows))
        with contextlib.closing(Server(answer=script)) as server:
            monkeypatch.setenv("TENSORLAKE_SANDBOX_PROXY_URL", server.url)
            return pytester.runpytest_subprocess(*CHECKS), asked

    return run


def shown(result: pytest.RunResult) -> dict[str, str]:
    """Return the text that pytest shows for each failure, by its title."""
    text = "\n".join(line.rstrip() for line in result.outlines)
    return dict(re.findall(r"\n_+ (test_.+?) _+\n\n(.*?)(?=\n[_=]+ )", text, re.DOTALL))


LOOPS = managed(status="backing_off", restart_count=1)
OPTIONS = [f"--option-{number}" for number in range(20)]
ROWS = {
    "well": [raw(1), raw(2, **ended(1)), raw(3, managed=managed(restart_count=2))],
    "killed": [oom(1), oom(2)],
    "crashed": [raw(1, **signaled(6))],
    "loops": [raw(1, **ended(1), args=["train.py", *OPTIONS], managed=LOOPS)],
    "ill": [raw(1, managed=managed(health_status="unhealthy", consecutive_health_failures=3))],
    "odd": [raw(1), {"pid": "text"}],
}
TWO_KILLED = """\
E   pytest_tlsandbox.ProcessOOMKilled: OOM-killed: train.py (pid 1) and 1 more

        pid 1  oom_killed  9 s  python train.py    OOM-killed
        pid 2  oom_killed  9 s  python train.py    OOM-killed
      sandbox  killed"""
LONG_COMMAND_LINE = """\
E   pytest_tlsandbox.ProcessRestarted: Restart loop: web (pid 1)

        pid 1  exited 1  9 s  [web] python train.py --option-0 --o… +215
            1 restart, and it is backing off
      sandbox  loops"""


def test_each_ready_made_check_fails_only_if_it_finds_its_own_kind_of_problem(checked, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result, _ = checked(ROWS)
    texts = shown(result)
    assert texts["test_no_oom[killed]"] == TWO_KILLED
    assert texts["test_no_restart_loop[loops]"] == LONG_COMMAND_LINE
    assert {name: text.partition("\n")[0].partition(": ")[2] for name, text in texts.items()} == {
        "test_no_oom[killed]": "OOM-killed: train.py (pid 1) and 1 more",
        "test_no_crash[crashed]": "Crashed: train.py (pid 1)",
        "test_no_restart_loop[loops]": "Restart loop: web (pid 1)",
        "test_healthy[ill]": "Unhealthy: web (pid 1)",
        "test_everything_readable[odd]": "1 row of the process list cannot be read",
    }
    result.assert_outcomes(passed=31, failed=5)
    sandboxes = [
        "=* sandboxes =*",
        "well     well      3 processes, 2 alive",
        "killed   not well  OOM-killed: train.py (pid 1) and 1 more",
        "crashed  not well  Crashed: train.py (pid 1)",
        "loops    not well  Restart loop: web (pid 1)",
        "ill      not well  Unhealthy: web (pid 1)",
        "odd      not well  1 row not readable",
    ]
    result.stdout.fnmatch_lines(sandboxes, consecutive=True)


def test_unreachable_sandbox_fails_one_health_check_and_skips_the_others(pytester):
    result = pytester.runpytest_subprocess(*CHECKS, f"--tlsandbox={unused_url()}")
    result.assert_outcomes(failed=1, skipped=5)
    text = shown(result)["test_reachable"]
    assert text.startswith("E   pytest_tlsandbox.InvalidSetting: no API key for http://127.0.0.1:")


@pytest.mark.parametrize("options", sample_of({"alone": (), "xdist": ("-n1",)}, "alone"))
def test_embedded_sandbox_passes_all_checks(pytester, options):
    result = pytester.runpytest_subprocess(*CHECKS, *options, "--tlsandbox=local")
    result.assert_outcomes(passed=6)
    assert result.ret == 0


@pytest.mark.parametrize(
    ("boxes", "delay"), [(40, 0.25), pytest.param(200, 0.05, marks=pytest.mark.slow)]
)
def test_checks_poll_each_of_many_sandboxes_once_and_concurrently(checked, boxes, delay):
    """In turn, they would take 10 s. ``benchmarks/checks.py`` times the whole run."""
    result, asked = checked({f"box-{number}": [raw(1)] for number in range(boxes)}, delay)
    result.assert_outcomes(passed=6 * boxes)
    assert len(asked) == 2 * boxes  # the list, and at the same time the counter of the kernel
    assert max(asked) - min(asked) < 9
