"""What pytest itself shows of the plugin reads as documentation."""

from __future__ import annotations

import re

import pytest

FIXTURES = """\
tlsandbox
    Return the sandbox under test; it knows what was there when the test began.

tlsandbox_async
    Return the same with every call awaitable, for coroutines of asyncio and trio.

tlsandbox_session [session scope]
    Return the sandbox under test, for fixtures of wider scope: it judges all there is.

tlsandbox_connect [session scope]
    Return a function that connects to one more sandbox, by id, URL or SDK object.

tlsandbox_target [session scope]
    Return what to connect to: the value of --tlsandbox.

tlsandbox_lister [session scope]
    Return the process list of the sandbox under test, and nothing else.

tlsandbox_allow [session scope]
    Return a context manager: what the guard finds meanwhile is meant, and fails nothing.

tlsandbox_local [session scope]
    Return the embedded sandbox of this process: url, api_key, identifier, memory_limit."""
OPTIONS = """\
processes of a Tensorlake sandbox (its key: TENSORLAKE_API_KEY):
  --tlsandbox=TARGET    Sandbox to test: 'local' for the embedded one, the id or
                        name of a sandbox, or its URL. '{worker}' stands for the
                        xdist worker. Given several times, each test runs on
                        each (ini file: one a line; environment: with spaces in
                        between). [environment: TLSANDBOX]
  --tlsandbox-proxy-url=URL
                        URL of the proxy through which sandboxes are reached by
                        id (without it: https://<id>.sandbox.tensorlake.ai).
                        [environment: TENSORLAKE_SANDBOX_PROXY_URL]
  --tlsandbox-timeout=TIME
                        How long a wait goes on when the test does not say: 30,
                        '30s', '2m' (default: 30s).
  --tlsandbox-memory=SIZE
                        Memory limit of the embedded sandbox: '256M', '1G'
                        (default: none).
  --tlsandbox-guard=RULES
                        Fail the test in which one of these happens in the
                        sandbox, even if it never looks: oom, crash, restart,
                        unhealthy, leak; several with commas, or the option
                        several times (default: none).
  --tlsandbox-guard-report-only
                        Have the guard tell what it finds, and fail nothing.
  --tlsandbox-report=PATH
                        Write what was seen of the processes to this file: a
                        timeline to look at where its name ends in .html, else
                        JSON."""


def shown(pytester: pytest.Pytester, *options: str) -> str:
    return "\n".join(pytester.runpytest_subprocess(*options).outlines)


def test_the_fixtures(pytester: pytest.Pytester) -> None:
    text = shown(pytester, "--fixtures").partition("defined from pytest_tlsandbox.plugin")[2]
    ours = re.sub(r" -- \S+", "", text.partition("\n\n\n")[0].partition("\n")[2])

    assert ours == FIXTURES


def test_the_markers(pytester: pytest.Pytester) -> None:
    lines = shown(pytester, "--markers").splitlines()

    assert [line for line in lines if "tlsandbox" in line] == [
        "@pytest.mark.tlsandbox_guard(*rules): the guard judges this test by these rules (oom, crash, "
        "restart, unhealthy, leak), whatever the command line says; without any, by none",
        "@pytest.mark.tlsandbox_allow(*rules, reason): what the guard finds in this test by these "
        "rules is meant, and fails nothing; the reason is compulsory, and shown",
    ]


def test_the_options(pytester: pytest.Pytester) -> None:
    found = re.search(r"^processes of a T.*?(?=^\S)", shown(pytester, "--help") + "\n", re.S | re.M)

    assert found is not None
    assert found[0].rstrip() == OPTIONS


def test_an_ini_key_says_what_its_option_says(pytester: pytest.Pytester) -> None:
    text = re.sub(r"\s+", " ", shown(pytester, "--help"))

    for key, kind, words in [
        ("tlsandbox", "linelist", "Sandbox to test: 'local' for the embedded one"),
        ("tlsandbox_proxy_url", "string", "URL of the proxy through which"),
        ("tlsandbox_timeout", "string", "How long a wait goes on when the test does not say"),
        ("tlsandbox_memory", "string", "Memory limit of the embedded sandbox"),
        ("tlsandbox_guard", "linelist", "Fail the test in which one of these happens"),
        ("tlsandbox_guard_report_only", "bool", "Have the guard tell what it finds"),
        ("tlsandbox_report", "string", "Write what was seen of the processes to this file"),
    ]:
        assert f" {key} ({kind}): {words}" in text, key
