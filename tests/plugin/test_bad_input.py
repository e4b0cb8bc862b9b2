"""Mistakes end the run, or the call, with one sentence: where it came from, and what is allowed.

``tests/test_settings.py`` and ``tests/arguments`` have the sentences for all values.
"""

from __future__ import annotations

import pytest

from .inner import errors_of_tests, usage_error_of

NOT_A_SANDBOX = "expected 'local', the id or name of a sandbox (letters, digits, - and _) or a URL"
HOW_TO_NAME_ONE = (
    "pass --tlsandbox local for the embedded sandbox or --tlsandbox ID for a real one, or set tlsandbox "
    "in the ini file or TLSANDBOX in the environment"
)
RULES = "oom, crash, restart, unhealthy, leak"
NO_RULE = f"; expected one of {RULES}"


NO_EQUALS_SIGN = (
    "cannot be written: pytest may mistake it for the path of a test; write "
    "--tlsandbox-report=out.json, with an equals sign"
)
FOLDER = "cannot be written: it is a folder; give the path of a file"
INVALID_SETTINGS = {
    "--tlsandbox-guard=oom,crush": f"--tlsandbox-guard: unknown guard rule 'crush'{NO_RULE}; did you mean 'crash'?",
    "--tlsandbox-guard=OOM": f"--tlsandbox-guard: unknown guard rule 'OOM'{NO_RULE}; did you mean 'oom'?",
    "--tlsandbox-guard=all": f"--tlsandbox-guard: unknown guard rule 'all'{NO_RULE}",
    "--tlsandbox-guard=": f"--tlsandbox-guard: expected at least one rule ({RULES}); got none",
    "--tlsandbox-report=tox.ini/out.json":
        "--tlsandbox-report: 'tox.ini/out.json' cannot be written: {path}/tox.ini is not a folder",
    "--tlsandbox-report=":
        "--tlsandbox-report: '' cannot be written: the path is empty; give the path of a file",
    "--tlsandbox-output=tox.ini":
        "--tlsandbox-output: 'tox.ini' cannot be written: {path}/tox.ini is not a folder",
    "--tlsandbox-output=":
        "--tlsandbox-output: '' cannot be written: the path is empty; give the path of a folder",
    "--tlsandbox-output=/proc/out":
        "--tlsandbox-output: '/proc/out' cannot be written: the folder /proc is not writable",
    "--tlsandbox-report=/proc/out.json":
        "--tlsandbox-report: '/proc/out.json' cannot be written: the folder /proc is not writable",
    "--tlsandbox-report out.json": f"--tlsandbox-report: 'out.json' {NO_EQUALS_SIGN}",
    "PYTEST_ADDOPTS = --tlsandbox-report out.json":
        f"--tlsandbox-report: 'out.json' {NO_EQUALS_SIGN}",
    "tlsandbox = no/box": f"tlsandbox in tox.ini: {NOT_A_SANDBOX}, got 'no/box'",
    "tlsandbox_guard_report_only = maybe":
        "tlsandbox_guard_report_only in tox.ini: invalid truth value 'maybe'",
    "tlsandbox_report = out/": f"tlsandbox_report in tox.ini: 'out/' {FOLDER}",
    "TLSANDBOX = a ?": f"environment variable TLSANDBOX: {NOT_A_SANDBOX}, got '?'",
}  # fmt: skip
"""Options, ini keys and environment variables, each with its message."""


@pytest.mark.parametrize("setting", INVALID_SETTINGS)
def test_invalid_setting_stops_the_run_before_the_first_test(pytester, monkeypatch, setting):
    options = setting.split() if setting.startswith("--") else []
    name, _, value = setting.partition(" = ")
    if name.isupper():
        monkeypatch.setenv(name, value)
    pytester.makeini(f"[pytest]\n{setting if name.islower() and not options else ''}")
    result = pytester.runpytest_inprocess(*options)
    assert usage_error_of(result) == INVALID_SETTINGS[setting].format(path=pytester.path)
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_invalid_option_also_stops_a_run_under_xdist(pytester):
    result = pytester.runpytest_subprocess("-n1", "--tlsandbox=no box")
    assert usage_error_of(result) == f"--tlsandbox: {NOT_A_SANDBOX}, got 'no box'"
    assert result.ret == 4


def test_test_that_needs_a_sandbox_fails_with_an_error_if_none_is_configured(pytester):
    pytester.makepyfile(
        """
        def test_it(tlsandbox): pass
        def test_session(tlsandbox_session): pass
        def test_lister(tlsandbox_lister): pass
        def test_that_needs_none(): pass
        """
    )
    sentence = f"no sandbox to test, because --tlsandbox is not set; {HOW_TO_NAME_ONE}"
    record = pytester.inline_run()
    assert errors_of_tests(record) == {
        "test_it": f"pytest_tlsandbox.InvalidSetting: {sentence}",
        "test_session": f"pytest_tlsandbox.InvalidSetting: same cause as test_it: {sentence}",
        "test_lister": f"pytest_tlsandbox.InvalidSetting: same cause as test_it: {sentence}",
    }
    assert record.ret == pytest.ExitCode.TESTS_FAILED


NO_KEY = (
    "set TENSORLAKE_API_KEY, or return a key from the hook pytest_tlsandbox_api_key(config, target)"
)
NOT_A_KEY = (
    "the API key must be ASCII text without spaces or line breaks, got a key that is empty or contains "
    "other characters; copy the key again"
)


@pytest.mark.parametrize(
    ("target", "key", "sentence"),
    [
        ("my-sandbox", "", f"no API key for my-sandbox; {NO_KEY}"),
        ("lcal", "", f"no API key for lcal; {NO_KEY}; did you mean 'local'?"),
        ("Local", "", f"no API key for Local; {NO_KEY}; did you mean 'local'?"),
        ("my-sandbox", "two words", f"environment variable TENSORLAKE_API_KEY: {NOT_A_KEY}"),
        ("http://example.org", "any", "http://example.org: the API key must not be sent over plain "
         "http to another machine; use https"),
    ],
)  # fmt: skip
def test_missing_or_invalid_key_is_reported_before_any_request_is_sent(
    pytester, monkeypatch, target, key, sentence
):
    monkeypatch.setenv("TENSORLAKE_API_KEY", key)
    pytester.makepyfile("def test_it(tlsandbox): pass")
    record = pytester.inline_run(f"--tlsandbox={target}")
    assert errors_of_tests(record) == {"test_it": f"pytest_tlsandbox.InvalidSetting: {sentence}"}


NOT_A_SECRET = (
    " must return a Secret, or a function without arguments that returns the key, got a value of type {}; "
    "write `return Secret(key)` after `from pytest_tlsandbox import Secret`"
)


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        ("lambda: 'line' + chr(10) + 'break'", f": {NOT_A_KEY}"),
        ("'tl_abc'", NOT_A_SECRET.format("str")),
        ("b'tl_abc'", NOT_A_SECRET.format("bytes")),
        ("lambda: 1", NOT_A_SECRET.format("int")),
    ],
)
def test_invalid_key_from_the_hook_causes_an_error_that_names_the_hook(
    pytester, returned, sentence
):
    pytester.makeconftest(f"def pytest_tlsandbox_api_key(config, target): return {returned}")
    pytester.makepyfile("def test_it(tlsandbox): pass")
    assert errors_of_tests(pytester.inline_run("--tlsandbox=my-sandbox")) == {
        "test_it": f"pytest_tlsandbox.InvalidSetting: hook pytest_tlsandbox_api_key{sentence}"
    }


@pytest.mark.usefixtures("connected")
def test_connecting_to_an_object_that_is_not_a_sandbox_raises_an_error(pytester):
    pytester.makepyfile(
        """
        def test_text(tlsandbox_connect):
            tlsandbox_connect("")

        def test_object(tlsandbox_connect):
            tlsandbox_connect(object())
        """
    )
    assert errors_of_tests(pytester.inline_run()) == {
        "test_text": f"pytest_tlsandbox.InvalidSetting: sandbox: {NOT_A_SANDBOX}, got ''",
        "test_object": "pytest_tlsandbox.InvalidArgument: a sandbox must be an id, a name, a URL "
        "or a connected tensorlake.sandbox.Sandbox, got a value of type object",
    }


def test_allow_fixture_checks_its_arguments_even_if_it_is_not_used_in_a_with_block(pytester):
    pytester.makepyfile(
        """
        def test_no_reason(tlsandbox_allow):
            tlsandbox_allow("oom")

        def test_no_rule(tlsandbox_allow):
            with tlsandbox_allow("leek", reason="it is meant"):
                pass
        """
    )
    record = pytester.inline_run()
    assert errors_of_tests(record) == {
        "test_no_reason": f"pytest_tlsandbox.InvalidArgument: {NO_REASON}",
        "test_no_rule": f"pytest_tlsandbox.InvalidArgument: tlsandbox_allow: unknown guard rule 'leek'{NO_RULE}; "
        "did you mean 'leak'?",
    }
    last = [report.longreprtext.splitlines()[-1] for report in record.getfailures()]
    assert [line.partition(".py")[2] for line in last] == [
        ":2: InvalidArgument",
        ":5: InvalidArgument",
    ]


@pytest.mark.parametrize("missing", [("psutil",), ("psutil", "uvicorn")])
def test_error_explains_how_to_install_the_dependencies_of_the_embedded_sandbox(pytester, missing):
    pytester.makeconftest(f"import sys\nsys.modules.update(dict.fromkeys({missing}))")
    pytester.makepyfile("def test_it(tlsandbox): pass")
    result = pytester.runpytest_subprocess("--tlsandbox=local")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            f"E *pytest_tlsandbox.LocalSandboxError: The embedded sandbox requires "
            f"{', '.join(missing)}; run pip install 'pytest-tlsandbox[[]local]'",
        ]
    )


NO_SANDBOX = f"no sandbox to guard; {HOW_TO_NAME_ONE}"
NO_REASON = (
    'tlsandbox_allow: expected a reason, as in tlsandbox_allow("oom", reason="..."), got none'
)
MARKERS = {
    "tlsandbox_guard('omm')": f"tlsandbox_guard: unknown guard rule 'omm'{NO_RULE}; did you mean 'oom'?",
    "tlsandbox_guard(rules='oom')":
        "tlsandbox_guard: expected only rules, as in tlsandbox_guard('oom'), got 'rules'",
    "tlsandbox_allow('oom')": NO_REASON,
    "tlsandbox_allow('oom', reason=' ')": NO_REASON,
    "tlsandbox_allow(reason='why not')":
        f"tlsandbox_allow: expected at least one rule ({RULES}); got none",
    "tlsandbox_allow('oom', raison='why')":
        "tlsandbox_allow: expected rules and a reason, got 'raison'",
}  # fmt: skip
"""Invalid markers, each with its message."""


@pytest.mark.parametrize("marker", MARKERS)
def test_invalid_marker_stops_the_run_before_the_first_test(pytester, marker):
    pytester.makepyfile(
        test_a="def test_before(): open('ran', 'w')",
        test_b=f"import pytest\n@pytest.mark.{marker}\ndef test_it(): pass",
    )
    result = pytester.runpytest_inprocess()
    assert usage_error_of(result) == f"test_b.py::test_it: {MARKERS[marker]}"
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not (pytester.path / "ran").exists()


def test_guard_without_a_sandbox_stops_the_run_before_the_first_test(pytester):
    mark = "import pytest\n@pytest.mark.tlsandbox_guard('oom')\n"
    for marked, *options in [("", "--tlsandbox-guard=oom"), (mark,)]:
        pytester.makepyfile(f"{marked}def test_it(): open('ran', 'w')")
        result = pytester.runpytest_inprocess(*options)
        assert usage_error_of(result) == NO_SANDBOX
        assert result.ret == pytest.ExitCode.USAGE_ERROR
    # Under xdist a worker detects the error, and the session ends with the same message.
    result = pytester.runpytest_subprocess("-n1", "--tlsandbox-guard=oom")
    assert [line.strip("! ") for line in result.outlines if line.startswith("!")] == [
        f"xdist.dsession.Interrupted: {NO_SANDBOX}"
    ]
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert not (pytester.path / "ran").exists()


def test_valid_markers_are_accepted_without_a_guard(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.tlsandbox_allow("oom", "leak", reason="it is meant")
        @pytest.mark.tlsandbox_guard()
        def test_it(): pass
        """
    )
    pytester.runpytest_inprocess("--strict-markers").assert_outcomes(passed=1)


IN_TOML = {
    "tool.pytest.ini_options": 'tlsandbox = "local"\ntlsandbox_guard = "oom,crash"\ntlsandbox_timeout = 5'
    '\ntlsandbox_mask = "hunter.*"',
    "tool.pytest": 'tlsandbox = ["local"]\ntlsandbox_guard = ["oom", "crash"]\ntlsandbox_timeout = "5"'
    '\ntlsandbox_mask = ["hunter.*"]',
}
PYTEST_8 = pytest.__version__.startswith("8.")


@pytest.mark.parametrize("table", IN_TOML)
def test_settings_in_a_toml_file_are_read(pytester, table):
    if table == "tool.pytest" and PYTEST_8:
        pytest.skip("pytest 8 has no such table")
    pytester.makepyprojecttoml(f"[{table}]\n{IN_TOML[table]}\ntlsandbox_guard_report_only = true\n")
    pytester.makepyfile(
        """
        from pytest_tlsandbox.plugin import _SETTINGS

        def test_it(pytestconfig):
            settings = pytestconfig.stash[_SETTINGS]
            assert (settings.targets, settings.guard) == (("local",), ("oom", "crash"))
            assert (settings.timeout, settings.guard_report_only) == (5.0, True)
            assert [mask.pattern for mask in settings.masks] == ["hunter.*"]
        """
    )
    assert pytester.runpytest_inprocess().ret == 0


@pytest.mark.skipif(PYTEST_8, reason="it has no such table")
def test_toml_setting_with_a_value_of_the_wrong_type_is_reported(pytester):
    pytester.makepyprojecttoml("[tool.pytest]\ntlsandbox_timeout = [5, 6]\n")
    result = pytester.runpytest_inprocess()

    assert usage_error_of(result).startswith("tlsandbox_timeout in pyproject.toml: ")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
