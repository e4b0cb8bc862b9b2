"""Plugins that collect failures, or report them elsewhere."""

import base64
import html
import json
import re
from urllib.parse import quote

import pytest

FAILS = """
SECRET = "tl_" + "secret"

def test_it(tlsandbox):
    tlsandbox.run_process("sh", ["-c", "exit 3", f"--token={SECRET}"], timeout=5)
"""


CHECKS = """
from pytest_check import check

def test_it(tlsandbox):
    for code in (3, 0, 4):
        with check:
            tlsandbox.run_process("sh", ["-c", f"exit {code}"], timeout=5)
"""


def test_test_continues_after_a_failure_in_a_pytest_check_block(run):
    result = run(CHECKS, "pytest_check.plugin")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*FAILURE:*Exited 3, wanted 0: *", "*FAILURE:*Exited 4, wanted 0: *", "Failed Checks: 2"]
    )


@pytest.mark.parametrize("workers", [(), ("-p", "xdist.plugin", "-p", "xdist.looponfail", "-n1")])
def test_pytest_html_shows_the_processes_and_the_timeline(run, pytester, box, workers):
    code = FAILS + "\ndef test_other(): pass\n"
    options = ["--html=out/report.html", "--self-contained-html", "-l"]
    options += ["--tlsandbox-report=a b.html", "--tlsandbox-output=b c"]
    result = run(code, "pytest_metadata.plugin pytest_html.plugin", *options, *workers)
    result.assert_outcomes(failed=1, passed=1)
    page = (pytester.path / "out" / "report.html").read_text()
    assert '<p><a href="../a%20b.html">Timeline of the processes</a></p>' in page
    [blob] = re.findall(r'data-jsonblob="(.*?)">', page)
    failed, passed = json.loads(html.unescape(blob))["tests"].values()
    assert passed[0]["extras"] == []
    assert "UnexpectedExit: Exited 3, wanted 0: " in failed[0]["log"]
    extras = {extra["name"]: extra["content"] for extra in failed[0]["extras"]}
    table = base64.b64decode(extras.pop("processes in my-sandbox").partition("base64,")[2]).decode()
    [file] = (pytester.path / "b c").iterdir()
    timeline = "../a%20b.html#test=test_it.py%3A%3Atest_it"
    assert [*extras.values()] == [f"../b%20c/{quote(file.name)}", timeline]
    assert re.search(r"^pid \d+ +exited 3 .* sh -c exit 3 --token=\*\*\*$", table, re.MULTILINE)
    for secret in ("tl_secret", box.api_key.reveal()):
        assert secret not in page + table + file.read_text()
    assert (pytester.path / "a b.html").read_text().count("test_it.py::test_it") >= 2


MEASURED = """
from client import answer

def test_it(tlsandbox):
    tlsandbox.run_process("true", timeout=5)
    assert answer(True) == 42
"""


def test_pytest_cov_measures_a_suite_that_uses_the_plugin(run):
    client = "def answer(good):\n    if good:\n        return 42\n    return 0\n"
    files = {"client": client, "test_it": MEASURED}
    result = run(files, "pytest_cov.plugin", "--cov=client", "--cov-report=term-missing")
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"client\.py +4 +1 +75% +4"])


def test_github_annotation_shows_the_first_message_line_without_secrets(run, pytester, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    result = run(FAILS, "pytest_github_actions_annotate_failures.plugin")
    [line] = [line for line in result.outlines + result.errlines if line.startswith("::error")]
    assert "tl_secret" not in line
    assert re.search(r"file=test_\w+\.py,line=4::test_it%0A%0AExited 3, wanted 0: ", line)
