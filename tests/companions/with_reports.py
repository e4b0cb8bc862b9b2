"""Plugins that collect failures, or report them elsewhere."""

import base64
import html
import json
import re

import pytest

FAILS = """
        SECRET = "tl_" + "secret"

        def test_it(tlsandbox):
            job = tlsandbox.start_process("sh", ["-c", "exit 3", f"--token={SECRET}"])
            tlsandbox.wait_for_exit(job, timeout=5)
"""


def test_a_test_goes_on_after_a_failure_inside_a_block_of_pytest_check(run, pytester):
    pytester.makepyfile(
        """
        from pytest_check import check

        def test_it(tlsandbox):
            for code in (3, 0, 4):
                with check:
                    job = tlsandbox.start_process("sh", ["-c", f"exit {code}"])
                    tlsandbox.wait_for_exit(job, timeout=5)
        """
    )
    result = run("pytest_check.plugin")
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert re.findall(r"FAILURE:.*?(Exited \d: sh -c)", text) == [
        "Exited 3: sh -c",
        "Exited 4: sh -c",
    ]
    assert "Failed Checks: 2" in text


@pytest.mark.parametrize("workers", [(), ("-p", "xdist.plugin", "-p", "xdist.looponfail", "-n1")])
def test_pytest_html_shows_the_message_and_all_processes_and_no_secret(run, pytester, box, workers):
    pytester.makepyfile(FAILS)
    plugins = "pytest_metadata.plugin pytest_html.plugin"
    result = run(plugins, "--html=report.html", "--self-contained-html", "-l", *workers)
    result.assert_outcomes(failed=1)
    page = (pytester.path / "report.html").read_text()
    blob = re.search(r'data-jsonblob="(.*?)">', page)
    assert blob is not None
    [test] = json.loads(html.unescape(blob[1]))["tests"].values()
    assert "UnexpectedExit: Exited 3: sh -c (pid " in test[0]["log"]
    [extra] = test[0]["extras"]
    assert extra["name"] == "processes in my-sandbox"
    table = base64.b64decode(extra["content"].partition("base64,")[2]).decode()
    assert re.search(r"^pid \d+ +exited 3 .* sh -c exit 3 --token=\*\*\*$", table, re.MULTILINE)
    assert "tl_secret" not in table
    assert "tl_secret" not in page
    assert box.api_key.reveal() not in page


@pytest.mark.parametrize("workers", [(), ("-p", "xdist.plugin", "-p", "xdist.looponfail", "-n1")])
def test_pytest_html_leads_to_the_timeline_and_from_a_failed_test_to_its_place_there(
    run, pytester, workers
):
    pytester.makepyfile(test_it=FAILS + "\n        def test_other(): pass\n")
    options = "--html=out/report.html", "--self-contained-html", "--tlsandbox-report=a b.html"
    result = run("pytest_metadata.plugin pytest_html.plugin", *options, *workers)
    result.assert_outcomes(failed=1, passed=1)
    page = (pytester.path / "out" / "report.html").read_text()
    assert '<p><a href="../a%20b.html">Timeline of the processes</a></p>' in page
    blob = re.search(r'data-jsonblob="(.*?)">', page)
    assert blob is not None
    tests = json.loads(html.unescape(blob[1]))["tests"]
    links = {name: [extra["content"] for extra in rows[0]["extras"] if extra["name"] != "processes in my-sandbox"]
             for name, rows in tests.items()}  # fmt: skip
    assert links == {
        "test_it.py::test_it": ["../a%20b.html#test=test_it.py%3A%3Atest_it"],
        "test_it.py::test_other": [],
    }
    assert (pytester.path / "a b.html").read_text().count("test_it.py::test_it") >= 2


def test_pytest_cov_measures_a_suite_as_before(run, pytester):
    pytester.makepyfile(
        client="""
        def answer(good):
            if good:
                return 42
            return 0
        """,
        test_it="""
        from client import answer

        def test_it(tlsandbox):
            tlsandbox.wait_for_exit(tlsandbox.start_process("sh", ["-c", "exit 0"]), timeout=5)
            assert answer(True) == 42
        """,
    )
    result = run("pytest_cov.plugin", "--cov=client", "--cov-report=term-missing")
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"client\.py +4 +1 +75% +4"])


def test_annotation_on_github_begins_with_the_kind_of_finding(run, pytester, monkeypatch):
    pytester.makepyfile(FAILS)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    result = run("pytest_github_actions_annotate_failures.plugin")
    [line] = [line for line in result.outlines + result.errlines if line.startswith("::error")]
    assert "tl_secret" not in line
    assert re.search(r"file=test_\w+\.py,line=5::test_it%0A%0AExited 3: sh -c \(pid \d+\)", line)
