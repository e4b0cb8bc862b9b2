"""The page of a report: its text, what it lets a browser do, and how to write it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from pytest_tlsandbox.report.__main__ import main
from pytest_tlsandbox.report.page import page_of
from pytest_tlsandbox.report.report_file import write_report

from ..browser.made_up_reports import at, attempt, change, finding, process, report


def headline(document: Any) -> str:
    [text] = re.findall(r"<h1>(.*)</h1>", page_of(document))
    return unescape(text)


def words(document: Any) -> list[str]:
    """Return each item of the list of findings: its kind and its text."""
    lines = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page_of(document))
    return [unescape(re.sub(r"<[^>]*>", "", f"{verdict}: {text}")) for verdict, text in lines]


def hogs(number: int) -> list[dict[str, Any]]:
    return [process(n, n, change("oom_killed", n + 1, signal=9)) for n in range(number)]


PASSED, FAILED = (
    attempt("test_a.py::test_a", 0, 1, "passed"),
    attempt("test_a.py::test_b", 1, 2, "failed"),
)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            report(10, [process(1, 1, change("exited", 2))], [PASSED]),
            "1 test, none failed. Nothing was seen to go wrong with 1 process.",
        ),
        (
            report(10, hogs(1), [PASSED, FAILED]),
            "1 of 2 tests failed. job-0.py (pid 1000) was OOM-killed.",
        ),
        (
            report(10, [*hogs(2), process(7, 1, change("signaled", 2, signal=6))], [FAILED]),
            "1 of 1 test failed. job-0.py (pid 1000) was OOM-killed; job-1.py (pid 1001) was OOM-killed; "
            "job-7.py (pid 1007) crashed.",
        ),
        (
            report(10, [*hogs(4), process(7, 1, change("signaled", 2, signal=6))], [FAILED]),
            "1 of 1 test failed. job-0.py (pid 1000) was OOM-killed; "
            "of 4 others, 3 were OOM-killed and 1 crashed.",
        ),
        (
            report(10, [hogs(1)[0] | {"sandbox": "local@gw1"}], [PASSED]),
            "1 test, none failed. job-0.py (pid 1000) in local@gw1 was OOM-killed.",
        ),
        (
            report(10, [], [PASSED], complete=False),
            "1 test, none failed. No process was seen. The run was broken off.",
        ),
        (
            report(10, [], [PASSED], complete=False, workers=[{"id": "gw1", "lost": True}]),
            "1 test, none failed. No process was seen. gw1 died.",
        ),
    ],
)
def test_the_first_line_says_what_happened(document, said):
    assert headline(document) == said


def test_findings_are_reported_in_the_words_of_the_terminal_and_several_of_one_process_together():
    hog, web = hogs(2)
    found = [
        finding("oom", "OOM-killed", hog, "test_a.py::test_a", allowed="it is meant"),
        finding("oom", "OOM-killed", web, "test_a.py::test_b"),
        finding("restart", "Restarted", web, "test_a.py::test_b"),
        finding("restart", "Restarted", web, "test_a.py::test_a"),
    ]
    crashed = process(9, 5, change("signaled", 6, signal=11))
    gap = {"sandbox": "box", "why": "refused", "from_test": "test_a.py::test_a", "to_test": None,
           "tests": 3, "times": []}  # fmt: skip
    outage = {"sandbox": "box", "from_at": at(1), "to_at": at(2), "faults": "502 x2", "test": None}
    document = report(
        10, [hog, web, crashed], [PASSED, FAILED], findings=found, gaps=[gap], outages=[outage]
    )
    document["collection_errors"] = ["test_c.py"]
    assert words(document) == [
        "OOM-killed: test_a.py::test_b (call): job-1.py (pid 1001): the sandbox says so",
        "Restarted: job-1.py (pid 1001) in test_a.py: test_b, test_a",
        "Failed: 1 test in test_a.py: test_b",
        "Not collected: test_c.py",
        "Not monitored: box, from test_a.py::test_a to the end, 3 tests: refused",
        "No answer: box, from outside of every test: 502 x2",
        "Seen: job-9.py (pid 1009) crashed; no rule applies to it",
        "Allowed: test_a.py::test_a (call): job-0.py (pid 1000): OOM-killed, allowed: it is meant",
    ]
    assert "A sandbox was not monitored for some time." in headline(document)


def test_a_finding_about_what_is_not_in_the_picture_is_reported_all_the_same():
    old = process(1, -9, before_the_session=True, name="old")
    old["changes"] = [change("oom_killed", -5, signal=9)]
    found = [finding("oom", "OOM-killed", old, None, reported_in="session")]
    assert words(report(10, [old], [PASSED], findings=found)) == [
        "OOM-killed: box, in no test: old (pid 1001): the sandbox says so"
    ]


def test_more_than_a_few_lines_are_folded_away_and_counted():
    jobs = hogs(12)
    page = page_of(
        report(20, jobs, [], findings=[finding("oom", "OOM-killed", job, "a") for job in jobs])
    )
    assert page.count("<dt>") == 12
    assert "<details><summary>and 4 more</summary>" in page


def test_the_policy_of_the_page_allows_its_own_style_and_script_and_nothing_else():
    page = page_of(report(10, hogs(1), [FAILED]))
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="(.*)">', page)
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest(style)}'; "
        f"script-src 'sha256-{digest(script)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert "style=" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "innerHTML" not in page


def test_no_text_of_a_run_can_end_its_element_or_be_taken_for_markup():
    hostile = "</script><script>alert(1)</script><!-- \u2028 &amp; \udc80"
    job = process(1, 1, change("oom_killed", 2), name=hostile, command_line=hostile, test=hostile)
    found = [finding("oom", hostile, job, hostile, what=hostile)]
    page = page_of(report(10, [job], [attempt(hostile, 1, 2, "failed")], findings=found))
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    assert "<!--" not in page
    data = re.findall(r'<script type="application/json" id="data">(.*)</script>', page)
    [section] = json.loads(data[0])["sections"]
    assert section["rows"][0]["bars"][0]["command"].startswith("</script><script>alert(1)</script>")


def test_the_name_of_a_report_says_whether_it_is_a_page(tmp_path):
    document = report(10, hogs(1), [FAILED])
    for name in ("a.html", "b.HTM", "c.json", "d"):
        write_report(document, tmp_path / name)
    begins = {path.name: path.read_text()[:9] for path in tmp_path.iterdir()}
    assert begins == {
        "a.html": "<!DOCTYPE",
        "b.HTM": "<!DOCTYPE",
        "c.json": '{\n "versi',
        "d": '{\n "versi',
    }


# -------------------------------------------------- python -m pytest_tlsandbox.report


def test_a_report_that_was_written_before_is_made_into_the_same_page(tmp_path, capsys):
    document = report(10, hogs(1), [FAILED])
    write_report(document, tmp_path / "in.json")
    assert main([str(tmp_path / "in.json"), str(tmp_path / "new" / "out.html")]) == 0
    assert (tmp_path / "new" / "out.html").read_text(encoding="utf-8") == page_of(document)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "in.json cannot be read: No such file or directory"),
        ("{", "in.json is not JSON"),
        ("[" * 100_000, "in.json is not JSON"),
        ("[]", "in.json is not a report of pytest-tlsandbox"),
        ('{"version": 2}', "in.json has version 2; this release reads version 1"),
        ('{"version": 1}', "in.json does not follow the schema of a report"),
    ],
)
def test_file_that_is_not_a_report_is_a_one_line_error(
    tmp_path, monkeypatch, capsys, content, told
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("in.json").write_text(content)
    assert main(["in.json", "out.html"]) == 1
    assert capsys.readouterr() == ("", told + "\n")
    assert not Path("out.html").exists()


def test_a_page_that_cannot_be_written_is_reported_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_report(report(10, [], []), Path("in.json"))
    Path("out.html").mkdir()
    assert main(["in.json", "out.html"]) == 1
    assert capsys.readouterr() == ("", "out.html cannot be written: Is a directory\n")


def test_a_page_of_another_name_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["in.json", "out.json"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(
        "error: the name of the page must end in .html, got out.json\n"
    )


def test_making_a_page_does_not_import_what_a_sandbox_needs(tmp_path):
    write_report(report(10, hogs(1), [FAILED]), tmp_path / "in.json")
    code = (
        "import sys; from pytest_tlsandbox.report.__main__ import main; main(sys.argv[1:]); "
        "print({'requests', 'pydantic', 'tenacity', 'pytest'} & sys.modules.keys())"
    )
    files = [str(tmp_path / "in.json"), str(tmp_path / "out.html")]
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
