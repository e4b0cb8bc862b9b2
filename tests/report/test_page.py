"""The page of a report: its text, what it lets a browser do, and how to write it."""

import hashlib
import json
import re
from base64 import b64encode
from html import unescape

import pytest

from pytest_tlsandbox.report.__main__ import main
from pytest_tlsandbox.report.document import write_report
from pytest_tlsandbox.report.page import page_of

from ..browser import made_up_reports as made
from ..browser.made_up_reports import attempt, change, finding, process, report, service


def headline(document):
    [text] = re.findall(r"<h1>(.*)</h1>", page_of(document))
    return unescape(text)


def cards(document):
    """Return the text of each card, one line for each paragraph."""
    page = page_of(document)
    causes = page[page.index('class="causes"') : page.index("<noscript>")]
    texts = re.split(r"<li class=\"[a-z ]+\">", causes)[1:]
    lines = [re.sub(r"</(h2|p|ul|pre|summary)>", "\n", text) for text in texts]
    return [unescape(re.sub(r"<[^>]*>", "", text)).strip() for text in lines]


PASSED = attempt("test_a.py::test_a", 0, 1, "passed")
FAILED = attempt("test_a.py::test_b", 1, 2, "failed")
CRASHED = process(7, 1, change("signaled", 2, signal=6))
AGAIN = service(21, 2, restarts=1)


def failed(kind, of=None, name="test_b", line="lost"):
    more = {"cause": made.cause(kind, of), "failure": made.failure(line)}
    return attempt(f"test_a.py::{name}", 1, 2, "failed", **more)


HOGS = [made.hog(n, n, n + 1) for n in range(12)]
HOG, OTHER = HOGS[:2]
EXITED = process(3, 1, change("exited", 2, exit_code=4))
HEADLINES = [
    ([process(1, 1, change("exited", 2)), process(2, 1)], [PASSED], {},
     "1 test, none failed. No incident in 2 processes."),
    ([EXITED], [PASSED, failed("exit", EXITED)], {}, "1 of 2 tests failed. Exited 4: job-3.py."),
    ([HOG, OTHER, CRASHED, EXITED],
     [failed("oom", HOG), failed("oom", OTHER), failed("crash", CRASHED), failed("exit", EXITED)], {},
     "4 of 4 tests failed. OOM-killed (2). Crashed. Exited 4."),
    ([], [PASSED, failed("none")], {}, "1 of 2 tests failed. No process failed."),
    ([], [failed("none")] * 2, {}, "2 of 2 tests failed. No process failed."),
    ([], [failed("sandbox")], {}, "1 of 1 test failed. Sandbox unreachable."),
    ([HOG], [PASSED], {"findings": [finding("oom", "OOM-killed", HOG, None)]},
     "1 test, none failed. OOM-killed: job-0.py."),
    ([], [], {}, "No test ran. No process was seen."),
    ([], [PASSED], {"complete": False},
     "1 test, none failed. No process was seen. The run was broken off."),
    ([], [PASSED], {"complete": False, "workers": [{"id": "gw1", "lost": True}]},
     "1 test, none failed. No process was seen. gw1 died."),
]  # fmt: skip


@pytest.mark.parametrize(("processes", "tests", "fields", "expected"), HEADLINES)
def test_headline_names_the_causes_of_the_failures(processes, tests, fields, expected):
    assert headline(report(10, processes, tests, **fields)) == expected


def test_findings_and_failed_tests_with_one_cause_share_a_card():
    more = {"output": {"stream": "output", "lines": ["loading", "epoch 2"], "total": 2}}
    killed = service(20, 0, change("oom_killed", 1.5, signal=9), test="test_a.py::test_a", **more)
    verdicts = {"oom": "OOM-killed", "restart": "Restarted"}
    found = [finding(rule, verdict, killed, "test_a") for rule, verdict in verdicts.items()]
    tests = [
        failed("none", line="KeyError: 'x'", name="test_c"),
        failed("oom", killed, line="RemoteDisconnected"),
        failed("exit", EXITED, name="test_exit", line="Exited 4"),
    ]
    document = report(10, [killed, AGAIN, EXITED], tests, findings=found)
    document["sandboxes"][0]["memory_limit"] = 256 * 2**20
    assert cards(document) == [
        "OOM-killed web (pid 1020)\n"
        "loading\n"
        "epoch 2\n"
        "failed test_b: RemoteDisconnected\n"
        "ran 1.5 s, started in test_a; restarted 0.5 s later as pid 1021\n"
        "memory limit of the sandbox: 256 MiB",
        "Exited 4 job-3.py (pid 1003)\nfailed test_exit\nran 1 s\nIts output was not read.",
        "KeyError: 'x' \nfailed test_c\nNo process failed.",
    ]


def test_exit_that_made_a_test_fail_is_named_even_if_the_process_was_restarted():
    ended = service(20, 0, change("exited", 1, exit_code=4))
    found = [finding("restart", "Restarted", ended, "test_a.py::test_a")]
    [card] = cards(report(10, [ended, AGAIN], [failed("exit", ended)], findings=found))
    assert card.startswith("Exited 4 web (pid 1020)\n")


def test_each_generation_of_a_process_name_has_its_own_card_and_row():
    runs = [service(n, n, change("signaled", n + 1, signal=11)) for n in (1, 2)]
    runs[0]["managed"]["generation"] = "of an earlier deployment"
    found = cards(report(10, runs, [failed("crash", run) for run in runs]))
    titles = [card.splitlines()[0] for card in found]
    assert titles == ["Crashed web (pid 1001)", "Crashed web (pid 1002)"]


def test_cards_after_the_failures_show_what_was_not_monitored_and_what_is_allowed():
    found = [finding("oom", "OOM-killed", HOG, "test_a.py::test_a", allowed="on purpose")]
    gaps = [made.gap(from_test="test_a.py::test_a", tests=3)]
    more = {"outages": [made.outage(1, 2, "502 x2")], "collection_errors": ["test_c.py"]}
    document = report(10, [HOG, CRASHED], [PASSED], findings=found, gaps=gaps, **more)
    assert cards(document) == [
        "Not collected test_c.py",
        "Not monitored box\nfrom test_a.py::test_a to the end, 3 tests: refused",
        "No answer box\nfrom outside of every test: 502 x2",
        "Crashed, reported by no rule job-7.py (pid 1007)",
        "OOM-killed, allowed job-0.py (pid 1000)\non purpose",
    ]
    assert "A sandbox was not monitored for some time." in headline(document)


def test_finding_has_a_card_even_if_its_process_is_not_drawn():
    ended = [change("oom_killed", -5, signal=9)]
    old = process(1, -9, before_the_session=True, name="old", changes=ended)
    found = [finding("oom", "OOM-killed", old, None, reported_in="session")]
    [card] = cards(report(10, [old], [PASSED], findings=found))
    assert card == "OOM-killed old (pid 1001)\nthe sandbox says so"


def test_card_folds_the_tests_after_the_sixth_and_says_that_a_process_wrote_nothing():
    silent = {**HOG, "output": {"stream": "output", "lines": [], "total": 0}}
    tests = [failed("oom", silent, name=f"test_{n}") for n in range(9)]
    [card] = cards(report(10, [silent], tests))
    lines = card.splitlines()
    assert lines[1].count("failed test_") == 6
    folded = "failed test_6: lostfailed test_7: lostfailed test_8: lost"
    assert lines[2:4] + lines[-1:] == ["and 3 more tests", folded, "It wrote nothing."]


def test_all_cards_after_the_eighth_are_folded_and_counted():
    found = [finding("oom", "OOM-killed", job, "a") for job in HOGS]
    page = page_of(report(20, HOGS, [], findings=found))
    assert page.count('<li class="oom">') == 12
    assert "<details><summary>and 4 more</summary>" in page


def test_content_security_policy_allows_only_the_style_and_script_of_the_page():
    page = page_of(report(10, [HOG], [FAILED]))
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="(.*)">', page)
    texts = re.findall(r"<(?:style|script)>(.*?)</", page, re.DOTALL)
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    assert policy == (
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; "
        "base-uri 'none'; form-action 'none'".format(
            *(b64encode(each).decode() for each in digests)
        )
    )
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert re.findall("style=|http://(?!www.w3.org)|innerHTML", page) == []


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
    write_report(report(10, [], []), tmp_path / name)
    assert (tmp_path / name).read_text().startswith("<!DOCTYPE") == name.startswith(("a", "b"))


# -------------------------------------------------- python -m pytest_tlsandbox.report


def test_converting_a_json_report_creates_the_same_page(tmp_path, capsys):
    document = report(10, [HOG], [FAILED])
    write_report(document, tmp_path / "in.json")
    main([str(tmp_path / "in.json"), str(tmp_path / "new" / "out.html")])
    assert (tmp_path / "new" / "out.html").read_text(encoding="utf-8") == page_of(document)
    assert capsys.readouterr() == ("", "")


BAD_FILES = [
    (None, "out.html", "in.json cannot be read: No such file or directory"),
    ("{", "out.html", "in.json does not follow the schema of a report"),
    ("[" * 100_000, "out.html", "in.json does not follow the schema of a report"),
    ("[]", "out.html", "in.json does not follow the schema of a report"),
    ('{"version": 1}', "out.html", "in.json has version 1; this release reads version 2"),
    ('{"version": 2}', "out.html", "in.json does not follow the schema of a report"),
    (json.dumps(report(10, [], [])), "dir.html", "dir.html cannot be written: Is a directory"),
]


@pytest.mark.parametrize(("content", "page", "message"), BAD_FILES)
def test_page_that_cannot_be_created_causes_a_one_line_error(pytester, content, page, message):
    pytester.mkdir("dir.html")
    if content is not None:
        (pytester.path / "in.json").write_text(content)
    with pytest.raises(SystemExit, match=f"^{message}$"):
        main(["in.json", page])
    assert {path.name for path in pytester.path.iterdir()} <= {"in.json", "dir.html"}


def test_page_must_have_a_file_name_that_ends_in_html(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["in.json", "out.json"])
    message = "error: the name of the page must end in .html, got out.json\n"
    assert capsys.readouterr().err.endswith(message)
