"""Mistakes end the run, or the call, with one sentence: where it came from, and what is allowed.

``tests/test_settings.py`` and ``tests/test_arguments.py`` have the sentences for all values.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from pytest_tlsandbox import LocalSandboxError, start_local_sandbox
from pytest_tlsandbox.plugin import _SETTINGS
from pytest_tlsandbox.settings import Settings

from ..support import failure
from .inner import errors_of_tests, usage_error_of

HOW_TO_NAME_ONE = (
    "pass --tlsandbox local for the embedded sandbox or --tlsandbox ID for a real one, or set tlsandbox "
    "in the ini file or TLSANDBOX in the environment"
)
NO_SANDBOX = f"no sandbox to guard; {HOW_TO_NAME_ONE}"
RULES = "oom, crash, restart, unhealthy, leak"
NO_RULE = f"; expected one of {RULES}"
NO_REASON = (
    'tlsandbox_allow: expected a reason, as in tlsandbox_allow("oom", reason="..."), got none'
)
NO_EQUALS_SIGN = (
    "--tlsandbox-report: 'out.json' cannot be written: pytest may mistake it for the path of a test; "
    "write --tlsandbox-report=out.json, with an equals sign"
)
MISTAKES = {
    "--tlsandbox-guard=oom,crush": f"--tlsandbox-guard: unknown guard rule 'crush'{NO_RULE}; did you mean 'crash'?",
    "--tlsandbox-guard=OOM": f"--tlsandbox-guard: unknown guard rule 'OOM'{NO_RULE}; did you mean 'oom'?",
    "--tlsandbox-guard=": f"--tlsandbox-guard: expected at least one rule ({RULES}); got none",
    "--tlsandbox-guard=oom": NO_SANDBOX,
    "--tlsandbox-report=":
        "--tlsandbox-report: '' cannot be written: the path is empty; give the path of a file",
    "--tlsandbox-output=tox.ini":
        "--tlsandbox-output: 'tox.ini' cannot be written: {path}/tox.ini is not a folder",
    "--tlsandbox-output=":
        "--tlsandbox-output: '' cannot be written: the path is empty; give the path of a folder",
    "--tlsandbox-report=/proc/out.json":
        "--tlsandbox-report: '/proc/out.json' cannot be written: the folder /proc is not writable",
    "--tlsandbox-report out.json": NO_EQUALS_SIGN,
    "PYTEST_ADDOPTS = --tlsandbox-report out.json": NO_EQUALS_SIGN,
    "tlsandbox_guard_report_only = maybe":
        "tlsandbox_guard_report_only in tox.ini: invalid truth value 'maybe'",
    "tlsandbox_report = out/":
        "tlsandbox_report in tox.ini: 'out/' cannot be written: it is a folder; give the path of a file",
    "@tlsandbox_guard('oom')": NO_SANDBOX,
    "@tlsandbox_guard('omm')":
        f"test_it.py::test_it: tlsandbox_guard: unknown guard rule 'omm'{NO_RULE}; did you mean 'oom'?",
    "@tlsandbox_guard(rules='oom')": "test_it.py::test_it: tlsandbox_guard: "
        "expected only rules, as in tlsandbox_guard('oom'), got 'rules'",
    "@tlsandbox_allow('oom')": f"test_it.py::test_it: {NO_REASON}",
    "@tlsandbox_allow('oom', reason=' ')": f"test_it.py::test_it: {NO_REASON}",
    "@tlsandbox_allow(reason='why not')":
        f"test_it.py::test_it: tlsandbox_allow: expected at least one rule ({RULES}); got none",
    "@tlsandbox_allow('oom', raison='why')":
        "test_it.py::test_it: tlsandbox_allow: expected rules and a reason, got 'raison'",
}  # fmt: skip
"""Options, ini keys, environment variables and markers, each with its message."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_invalid_setting_or_marker_stops_the_run_before_the_first_test(
    pytester, monkeypatch, mistake
):
    name, _, value = mistake.partition(" = ")
    if name.isupper():
        monkeypatch.setenv(name, value)
    pytester.makeini(f"[pytest]\n{mistake if name.islower() and name[0] == 't' else ''}")
    marker = f"@pytest.mark.{mistake[1:]}" if name.startswith("@") else ""
    pytester.makepyfile(
        test_before="def test_before(): open('ran', 'w')",
        test_it=f"import pytest\n{marker}\ndef test_it(): pass",
    )
    result = pytester.runpytest_inprocess(*(mistake.split() if name.startswith("--") else ()))

    assert usage_error_of(result) == MISTAKES[mistake].format(path=pytester.path)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not (pytester.path / "ran").exists()


def test_guard_without_a_sandbox_also_stops_a_run_under_xdist(pytester):
    """There a worker detects the mistake."""
    pytester.makepyfile("def test_it(): open('ran', 'w')")
    result = pytester.runpytest_subprocess("-n1", "--tlsandbox-guard=oom")

    assert [line.strip("! ") for line in result.outlines if line.startswith("!")] == [
        f"xdist.dsession.Interrupted: {NO_SANDBOX}"
    ]
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert not (pytester.path / "ran").exists()


def test_test_that_needs_a_sandbox_fails_with_an_error_if_none_is_configured(pytester):
    pytester.makepyfile(
        """
        import pytest

        def test_it(tlsandbox): pass

        @pytest.mark.tlsandbox_allow("oom", "leak", reason="it is expected")
        @pytest.mark.tlsandbox_guard()
        def test_that_needs_none(): pass
        """
    )
    no_sandbox = f"no sandbox to test, because --tlsandbox is not set; {HOW_TO_NAME_ONE}"
    assert errors_of_tests(pytester.inline_run()) == {
        "test_it": f"pytest_tlsandbox.InvalidSetting: {no_sandbox}"
    }


NO_KEY = (
    "set TENSORLAKE_API_KEY, or return a key from the hook pytest_tlsandbox_api_key(config, target)"
)
NOT_A_KEY = (
    "the API key must be ASCII text without spaces or line breaks, got a key that is empty or contains "
    "other characters; copy the key again"
)
NOT_A_SECRET = (
    "hook pytest_tlsandbox_api_key must return a Secret, or a function without arguments that returns "
    "the key, got a value of type {}; write `return Secret(key)` after `from pytest_tlsandbox import Secret`"
)


KEYS = {
    "my-sandbox": (None, f"no API key for my-sandbox; {NO_KEY}"),
    "lcal": (None, f"no API key for lcal; {NO_KEY}; did you mean 'local'?"),
    "Local": (None, f"no API key for Local; {NO_KEY}; did you mean 'local'?"),
    "variable": (None, f"environment variable TENSORLAKE_API_KEY: {NOT_A_KEY}"),
    "function": (lambda: "line\nbreak", f"hook pytest_tlsandbox_api_key: {NOT_A_KEY}"),
    "text": ("tl_abc", NOT_A_SECRET.format("str")),
    "bytes": (b"tl_abc", NOT_A_SECRET.format("bytes")),
    "number": (lambda: 1, NOT_A_SECRET.format("int")),
}
"""For each sandbox what the hook returns for it, and the error."""


def test_missing_or_invalid_key_is_reported_before_any_request_is_sent(pytester, monkeypatch):
    def key_of(config, target):
        monkeypatch.setenv("TENSORLAKE_API_KEY", "two words" if target == "variable" else "")
        return KEYS[target][0]

    pytester.makepyfile("def test_it(tlsandbox): pass")
    hooks = SimpleNamespace(pytest_tlsandbox_api_key=key_of)
    record = pytester.inline_run(*(f"--tlsandbox={target}" for target in KEYS), plugins=[hooks])
    assert errors_of_tests(record) == {
        f"test_it[{target}]": f"pytest_tlsandbox.InvalidSetting: {sentence}"
        for target, (_, sentence) in KEYS.items()
    }


def test_error_explains_how_to_install_the_dependencies_of_the_embedded_sandbox(monkeypatch):
    for name in ("psutil", "uvicorn"):
        monkeypatch.setitem(sys.modules, name, None)
    assert str(failure(start_local_sandbox, LocalSandboxError)) == (
        "The embedded sandbox requires psutil, uvicorn; run pip install 'pytest-tlsandbox[local]'"
    )


OLD_TABLE = """
[tool.pytest.ini_options]
tlsandbox = "local"
tlsandbox_timeout = 5
tlsandbox_guard_report_only = true
"""
NEW_TABLE = """
[tool.pytest]
tlsandbox = ["local"]
tlsandbox_timeout = "5"
tlsandbox_guard_report_only = true
"""
SINCE_PYTEST_9 = pytest.mark.skipif(
    pytest.version_tuple < (9,), reason="pytest 8 has no such table"
)


@pytest.mark.parametrize("table", [OLD_TABLE, pytest.param(NEW_TABLE, marks=SINCE_PYTEST_9)])
def test_settings_in_a_toml_file_are_read(pytester, table):
    pytester.makepyprojecttoml(table)
    settings = Settings(("local",), timeout=5.0, guard_report_only=True)
    assert pytester.parseconfigure().stash[_SETTINGS] == settings


@SINCE_PYTEST_9
def test_toml_setting_with_a_value_of_the_wrong_type_is_reported(pytester):
    pytester.makepyprojecttoml("[tool.pytest]\ntlsandbox_timeout = [5, 6]\n")
    with pytest.raises(pytest.UsageError, match=r"^tlsandbox_timeout in pyproject.toml: "):
        pytester.parseconfigure()
