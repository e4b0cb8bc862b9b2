"""The page of a report: its text, what it lets a browser do, and how to write it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_tlsandbox.report.__main__ import main
from pytest_tlsandbox.report.page import page_of
from pytest_tlsandbox.report.report_file import write_report

from ..browser.made_up_reports import attempt, change, finding, gap, hog, outage, process, report
from .read_report import schema


def headline(document: Any) -> str:
    [text] = re.findall(r"<h1>(.*)</h1>", page_of(document))
    return unescape(text)


def items(document: Any) -> list[str]:
    """Return each item of the list of findings: its kind and its text."""
    lines = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page_of(document))
    return [unescape(re.sub(r"<[^>]*>", "", f"{kind}: {text}")) for kind, text in lines]


def hogs(number: int) -> list[dict[str, Any]]:
    return [hog(n, n, n + 1) for n in range(number)]


PASSED = attempt("test_a.py::test_a", 0, 1, "passed")
FAILED = attempt("test_a.py::test_b", 1, 2, "failed")
CRASHED = process(7, 1, change("signaled", 2, signal=6))


HEADLINES = [
    ([process(1, 1, change("exited", 2))], [PASSED], {},
     "1 test, none failed. Nothing was seen to go wrong with 1 process."),
    (hogs(1), [PASSED, FAILED], {}, "1 of 2 tests failed. job-0.py (pid 1000) was OOM-killed."),
    ([*hogs(2), CRASHED, *hogs(10)[8:]], [FAILED], {},
     "1 of 1 test failed. job-0.py (pid 1000) was OOM-killed; job-1.py (pid 1001) was OOM-killed; "
     "job-7.py (pid 1007) crashed; 2 more."),
    ([hog(0, 0, 1, sandbox="local@gw1")], [PASSED], {},
     "1 test, none failed. job-0.py (pid 1000) in local@gw1 was OOM-killed."),
    ([], [PASSED], {"complete": False},
     "1 test, none failed. No process was seen. The run was broken off."),
    ([], [PASSED], {"complete": False, "workers": [{"id": "gw1", "lost": True}]},
     "1 test, none failed. No process was seen. gw1 died."),
]  # fmt: skip


@pytest.mark.parametrize(("processes", "tests", "fields", "expected"), HEADLINES)
def test_headline_summarizes_the_test_session(processes, tests, fields, expected):
    assert headline(report(10, processes, tests, **fields)) == expected


def test_findings_are_worded_as_in_the_terminal_and_followed_by_other_events():
    first, web = hogs(2)
    found = [
        finding("oom", "OOM-killed", first, "test_a.py::test_a", allowed="on purpose"),
        finding("oom", "OOM-killed", web, "test_a.py::test_b"),
    ]
    document = report(
        10,
        [first, web, process(9, 5, change("signaled", 6, signal=11))],
        [PASSED, FAILED],
        findings=found,
        gaps=[gap(from_test="test_a.py::test_a", tests=3)],
        outages=[outage(1, 2, "502 x2")],
        collection_errors=["test_c.py"],
    )
    assert items(document) == [
        "OOM-killed: test_a.py::test_b (call): job-1.py (pid 1001): the sandbox says so",
        "Failed: 1 test: test_a.py::test_b",
        "Not collected: test_c.py",
        "Not monitored: box, from test_a.py::test_a to the end, 3 tests: refused",
        "No answer: box, from outside of every test: 502 x2",
        "Seen: job-9.py (pid 1009) crashed; no rule applies to it",
        "Allowed: test_a.py::test_a (call): job-0.py (pid 1000): OOM-killed, allowed: on purpose",
    ]
    assert "A sandbox was not monitored for some time." in headline(document)


def test_finding_is_listed_even_if_its_process_is_not_drawn():
    old = process(1, -9, before_the_session=True, name="old")
    old["changes"] = [change("oom_killed", -5, signal=9)]
    found = [finding("oom", "OOM-killed", old, None, reported_in="session")]
    assert items(report(10, [old], [PASSED], findings=found)) == [
        "OOM-killed: box, in no test: old (pid 1001): the sandbox says so"
    ]


def test_all_list_items_after_the_eighth_are_collapsed_and_counted():
    jobs = hogs(12)
    found = [finding("oom", "OOM-killed", job, "a") for job in jobs]
    page = page_of(report(20, jobs, [], findings=found))
    assert page.count("<dt>") == 12
    assert "<details><summary>and 4 more</summary>" in page


def test_content_security_policy_allows_only_the_style_and_script_of_the_page():
    page = page_of(report(10, hogs(1), [FAILED]))
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="(.*)">', page)
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in re.findall(r"<(?:style|script)>(.*?)</", page, re.DOTALL)
    ]
    assert policy == (
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; "
        "base-uri 'none'; form-action 'none'".format(*hashes)
    )
    assert page.index("Content-Security-Policy") < page.index("<style>")
    for forbidden in ("style=", "http://", "innerHTML"):
        assert forbidden not in page.replace("http://www.w3.org", "")


def test_recorded_text_is_never_interpreted_as_html():
    hostile = "</script><script>alert(1)</script><!-- \u2028 &amp; \udc80"
    job = process(1, 1, change("oom_killed", 2), name=hostile, command_line=hostile, test=hostile)
    found = [finding("oom", hostile, job, hostile, what=hostile)]
    page = page_of(report(10, [job], [attempt(hostile, 1, 2, "failed")], findings=found))
    assert [page.count(tag) for tag in ("<script", "</script>", "<!--")] == [2, 2, 0]
    [data] = re.findall(r'<script type="application/json" id="data">(.*)</script>', page)
    [section] = json.loads(data)["sections"]
    assert section["rows"][0]["bars"][0]["command"].startswith("</script><script>alert(1)</script>")


@pytest.mark.parametrize("name", ["a.html", "b.HTM", "c.json", "d"])
def test_report_is_written_as_html_if_the_file_name_ends_in_html_or_htm(tmp_path, name):
    write_report(report(10, hogs(1), [attempt("\udc80 \u00e4", 0, 1)]), tmp_path / name)
    text = (tmp_path / name).read_text("utf-8")
    assert text.startswith("<!DOCTYPE") == name.startswith(("a", "b"))
    assert "udc80 \u00e4" in text
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_schema_is_valid_and_rejects_a_document_that_is_not_a_report():
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["description"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 2}, schema())


# -------------------------------------------------- python -m pytest_tlsandbox.report


def test_converting_a_json_report_creates_the_same_page(tmp_path, capsys):
    document = report(10, hogs(1), [FAILED])
    write_report(document, tmp_path / "in.json")
    main([str(tmp_path / "in.json"), str(tmp_path / "new" / "out.html")])
    assert (tmp_path / "new" / "out.html").read_text(encoding="utf-8") == page_of(document)
    assert capsys.readouterr() == ("", "")


BAD_FILES = [
    (None, "out.html", "in.json cannot be read: No such file or directory"),
    ("{", "out.html", "in.json is not JSON"),
    ("[" * 100_000, "out.html", "in.json is not JSON"),
    ("[]", "out.html", "in.json does not follow the schema of a report"),
    ('{"version": 2}', "out.html", "in.json has version 2; this release reads version 1"),
    ('{"version": 1}', "out.html", "in.json does not follow the schema of a report"),
    (json.dumps(report(10, [], [])), "dir.html", "dir.html cannot be written: Is a directory"),
]


@pytest.mark.parametrize(("content", "page", "message"), BAD_FILES)
def test_page_that_cannot_be_created_causes_a_one_line_error(
    tmp_path, monkeypatch, content, page, message
):
    monkeypatch.chdir(tmp_path)
    Path("dir.html").mkdir()
    if content is not None:
        Path("in.json").write_text(content)
    with pytest.raises(SystemExit, match=f"^{message}$"):
        main(["in.json", page])
    assert {path.name for path in tmp_path.iterdir()} <= {"in.json", "dir.html"}


def test_page_must_have_a_file_name_that_ends_in_html(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["in.json", "out.json"])
    assert capsys.readouterr().err.endswith(
        "error: the name of the page must end in .html, got out.json\n"
    )
