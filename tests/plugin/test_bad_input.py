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
NO_RULE = "; expected one of oom, crash, restart, unhealthy, leak"


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            "--tlsandbox-guard=oom,crush",
            f"--tlsandbox-guard: unknown guard rule 'crush'{NO_RULE}; did you mean 'crash'?",
        ),
        ("--tlsandbox-guard=all", f"--tlsandbox-guard: unknown guard rule 'all'{NO_RULE}"),
        (
            "--tlsandbox-guard=",
            "--tlsandbox-guard: expected at least one rule (oom, crash, restart, unhealthy, leak); got none",
        ),
        (
            "--tlsandbox-report=tox.ini/out.json",
            "--tlsandbox-report: 'tox.ini/out.json' cannot be written: {path}/tox.ini is not a folder",
        ),
        (
            "--tlsandbox-report=",
            "--tlsandbox-report: '' cannot be written: the path is empty; give the path of a file",
        ),
        (
            "--tlsandbox-report=.",
            "--tlsandbox-report: '.' cannot be written: it is a folder; give the path of a file",
        ),
        (
            "--tlsandbox-report=/proc/out.json",
            "--tlsandbox-report: '/proc/out.json' cannot be written: the folder /proc is not writable",
        ),
        (
            "--tlsandbox-output=tox.ini",
            "--tlsandbox-output: 'tox.ini' cannot be written: {path}/tox.ini is not a folder",
        ),
        (
            "--tlsandbox-output=tox.ini/out",
            "--tlsandbox-output: 'tox.ini/out' cannot be written: {path}/tox.ini is not a folder",
        ),
        (
            "--tlsandbox-output=",
            "--tlsandbox-output: '' cannot be written: the path is empty; give the path of a folder",
        ),
        (
            "--tlsandbox-output=/proc/out",
            "--tlsandbox-output: '/proc/out' cannot be written: the folder /proc is not writable",
        ),
    ],
)
def test_invalid_option_stops_the_run_before_the_first_test(pytester, option, sentence):
    pytester.makeini("[pytest]")
    result = pytester.runpytest_inprocess(option)
    assert usage_error_of(result) == sentence.replace("{path}", str(pytester.path))
    assert result.ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("tlsandbox", "no/box", f"tlsandbox in tox.ini: {NOT_A_SANDBOX}, got 'no/box'"),
        (
            "tlsandbox_guard",
            "leeks",
            f"tlsandbox_guard in tox.ini: unknown guard rule 'leeks'{NO_RULE}; did you mean 'leak'?",
        ),
        (
            "tlsandbox_guard_report_only",
            "maybe",
            "tlsandbox_guard_report_only in tox.ini: invalid truth value 'maybe'; "
            "write true or false",
        ),
        (
            "tlsandbox_report",
            "out/",
            "tlsandbox_report in tox.ini: 'out/' cannot be written: it is a folder; give the path of a file",
        ),
        ("TLSANDBOX", "a ?", f"environment variable TLSANDBOX: {NOT_A_SANDBOX}, got '?'"),
    ],
)
def test_error_for_an_invalid_setting_names_its_ini_key_or_environment_variable(
    pytester, monkeypatch, name, value, sentence
):
    if name.isupper():
        monkeypatch.setenv(name, value)
    else:
        pytester.makeini(f"[pytest]\n{name} = {value}")
    result = pytester.runpytest_inprocess()
    assert usage_error_of(result) == sentence
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


@pytest.mark.parametrize(
    ("target", "key", "sentence"),
    [
        (
            "my-sandbox",
            "",
            "no API key for my-sandbox: set TENSORLAKE_API_KEY, or return a key from the hook "
            "pytest_tlsandbox_api_key(config, target)",
        ),
        *(
            (
                typo,
                "",
                f"no API key for {typo}: set TENSORLAKE_API_KEY, or return a key from the hook "
                "pytest_tlsandbox_api_key(config, target); did you mean 'local'?",
            )
            for typo in ("lcal", "Local")
        ),
        (
            "my-sandbox",
            "two words",
            "environment variable TENSORLAKE_API_KEY: the API key must be ASCII text "
            "without spaces or line breaks, got a key that is empty or contains other characters; copy "
            "the key again",
        ),
        (
            "http://example.org",
            "any",
            "http://example.org: the API key must not be sent over plain http to another machine; "
            "use https",
        ),
    ],
)
def test_missing_or_invalid_key_is_reported_before_any_request_is_sent(
    pytester, monkeypatch, target, key, sentence
):
    monkeypatch.setenv("TENSORLAKE_API_KEY", key)
    pytester.makepyfile("def test_it(tlsandbox): pass")
    record = pytester.inline_run(f"--tlsandbox={target}")
    assert errors_of_tests(record) == {"test_it": f"pytest_tlsandbox.InvalidSetting: {sentence}"}


def test_error_for_an_invalid_api_key_names_the_hook_that_returned_the_key(pytester):
    pytester.makeconftest(
        """
        def pytest_tlsandbox_api_key(config, target):
            return lambda: "line" + chr(10) + "break"
        """
    )
    pytester.makepyfile("def test_it(tlsandbox): pass")
    assert errors_of_tests(pytester.inline_run("--tlsandbox=my-sandbox")) == {
        "test_it": "pytest_tlsandbox.InvalidSetting: hook pytest_tlsandbox_api_key: the API key "
        "must be ASCII text without spaces or line breaks, got a key that is empty or contains other "
        "characters; copy the key again"
    }


@pytest.mark.parametrize(
    ("returned", "kind"), [("'tl_abc'", "str"), ("b'tl_abc'", "bytes"), ("lambda: 1", "int")]
)
def test_error_for_a_plain_text_key_from_a_hook_suggests_to_wrap_it_in_secret(
    pytester, returned, kind
):
    pytester.makeconftest(f"def pytest_tlsandbox_api_key(config, target): return {returned}")
    pytester.makepyfile("def test_it(tlsandbox): pass")
    assert errors_of_tests(pytester.inline_run("--tlsandbox=my-sandbox")) == {
        "test_it": "pytest_tlsandbox.InvalidSetting: hook pytest_tlsandbox_api_key must return a "
        f"Secret, or a function without arguments that returns the key, got a value of type {kind}; "
        "write `return Secret(key)` after `from pytest_tlsandbox import Secret`"
    }


CALLS = {
    "wait_for_process('')": "process must not be an empty text, which would match every command line",
    "wait_for_process(None)": "process must be text, a pid, a compiled regex, a process object, a "
    "by(...) selector or a function, got None",
    "start_process('echo', 'hello')": "args must be a list of strings, got one string",
}
"""Invalid calls, each with its message."""


@pytest.mark.usefixtures("connected")
def test_call_with_invalid_arguments_raises_an_error_immediately(pytester):
    pytester.makepyfile(
        "from pytest_tlsandbox import by\n"
        + "\n".join(
            f"def test_{number}(tlsandbox_session):\n    tlsandbox_session.{call}\n"
            for number, call in enumerate(CALLS)
        )
    )
    assert errors_of_tests(pytester.inline_run()) == {
        f"test_{number}": f"pytest_tlsandbox.InvalidArgument: {sentence}"
        for number, sentence in enumerate(CALLS.values())
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


def test_tlsandbox_allow_checks_its_arguments_even_outside_a_with_block(pytester):
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
        "test_no_reason": "pytest_tlsandbox.InvalidArgument: tlsandbox_allow: expected a reason, as in "
        'tlsandbox_allow("oom", reason="..."), got none',
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
MARKERS = {
    "tlsandbox_guard('omm')": f"tlsandbox_guard: unknown guard rule 'omm'{NO_RULE}; did you mean 'oom'?",
    "tlsandbox_guard(rules='oom')": "tlsandbox_guard: expected only rules, as in "
    "tlsandbox_guard('oom'), got 'rules'",
    "tlsandbox_allow('oom')": 'tlsandbox_allow: expected a reason, as in tlsandbox_allow("oom", '
    'reason="..."), got none',
    "tlsandbox_allow('leak', reason=' ')": "tlsandbox_allow: expected a reason, as in "
    'tlsandbox_allow("leak", reason="..."), got none',
    "tlsandbox_allow(reason='why not')": "tlsandbox_allow: expected at least one rule (oom, "
    "crash, restart, unhealthy, leak); got none",
    "tlsandbox_allow('oom', raison='why')": "tlsandbox_allow: expected rules and a reason, got "
    "'raison'",
    "tlsandbox_guard('oom')": None,
}
"""Markers that mean nothing, with what is said of each; the last one only lacks a sandbox."""


@pytest.mark.parametrize("marker", MARKERS)
def test_invalid_marker_stops_the_run_before_the_first_test(pytester, marker):
    pytester.makepyfile(
        test_a="def test_before(): open('ran', 'w')",
        test_b=f"import pytest\n@pytest.mark.{marker}\ndef test_it(): pass",
    )
    result = pytester.runpytest_inprocess()
    sentence = MARKERS[marker]
    expected = NO_SANDBOX if sentence is None else f"test_b.py::test_it: {sentence}"
    assert usage_error_of(result) == expected
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not (pytester.path / "ran").exists()


def test_guard_without_a_sandbox_stops_the_run_before_the_first_test(pytester):
    pytester.makepyfile("def test_it(): open('ran', 'w')")
    result = pytester.runpytest_inprocess("--tlsandbox-guard=oom")
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


@pytest.mark.parametrize("table", ["tool.pytest.ini_options", "tool.pytest"])
@pytest.mark.parametrize(
    "lines",
    [
        'tlsandbox = "local"\ntlsandbox_guard = "oom,crash"\ntlsandbox_timeout = "5"',
        'tlsandbox = ["local"]\ntlsandbox_guard = ["oom", "crash"]\ntlsandbox_timeout = 5',
        'tlsandbox = "local"\ntlsandbox_guard = ["oom, crash"]\ntlsandbox_timeout = 5.0',
    ],
)
def test_setting_in_a_toml_file_may_be_a_string_or_a_list_or_a_number(pytester, table, lines):
    if table == "tool.pytest" and int(pytest.__version__.partition(".")[0]) < 9:
        pytest.skip("pytest 8 has no such table")
    more = 'tlsandbox_guard_report_only = true\ntlsandbox_mask = "hunter.*"'
    pytester.makepyprojecttoml(f"[{table}]\n{lines}\n{more}\n")
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


@pytest.mark.skipif(int(pytest.__version__.partition(".")[0]) < 9, reason="it has no such table")
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "tlsandbox_timeout = [5, 6]",
            "tlsandbox_timeout in {}: expected one value, got ['5', '6']",
        ),
        (
            'tlsandbox_guard_report_only = "maybe"',
            "tlsandbox_guard_report_only in {}: expected true or false, got 'maybe'",
        ),
    ],
)
def test_toml_setting_with_a_value_of_the_wrong_type_is_reported(pytester, line, sentence):
    pytester.makepyprojecttoml(f"[tool.pytest]\n{line}\n")
    result = pytester.runpytest_inprocess()

    assert usage_error_of(result) == sentence.format("pyproject.toml")
