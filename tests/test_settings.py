"""What can be set, and where it may come from."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_tlsandbox.errors import InvalidSetting
from pytest_tlsandbox.setting_values import (
    check,
    check_target,
    check_url,
    parse_rules,
    parse_size,
    parse_time,
)
from pytest_tlsandbox.settings import OPTIONS, Settings, fill_worker, read

M, G = 2**20, 2**30


class Config:
    """What ``read`` asks of pytest's own: values by ``dest`` and by ini key."""

    def __init__(self, options=None, ini=None, inipath=Path("/suite/pyproject.toml")):
        self._options = options or {}
        self._ini = ini or {}
        self.inipath = inipath
        self.rootpath = Path("/")
        self.invocation_params = SimpleNamespace(dir=Path("/tmp"))

    def getoption(self, name):
        return self._options.get(name)

    def getini(self, name):
        lists = ("tlsandbox", "tlsandbox_guard", "tlsandbox_mask")
        default = False if name.endswith("_only") else [] if name in lists else ""
        return self._ini.get(name, default)


def resolved(options=None, ini=None, environment=None):
    return checked(Config(options, ini), environment or {})


def checked(config, environment):
    return check(read(config, environment), config)


def message(call, *args):
    with pytest.raises(InvalidSetting) as raised:
        call(*args)
    return str(raised.value)


# Where it comes from


def test_nothing_set_is_the_defaults():
    assert resolved() == Settings(targets=(), proxy_url=None, timeout=30.0, memory=None)


@pytest.mark.parametrize(
    ("option", "ini", "environment", "targets"),
    [
        (["a"], ["b"], "c", ("a",)),
        (None, ["b"], "c", ("b",)),
        (["a"], [], "c", ("a",)),
        (None, [], "c", ("c",)),
        (["a", "b"], ["c"], "d", ("a", "b")),
        (None, ["a", "b"], "c", ("a", "b")),
        (None, [], "a b", ("a", "b")),
        (["a", "b", "a"], [], "", ("a", "b")),
        (None, [], "  ", ()),
        (None, [], "", ()),
    ],
    ids=[
        "option over ini and environment",
        "ini over environment",
        "option over environment",
        "environment",
        "several options",
        "several in ini",
        "several in environment",
        "each once",
        "blank environment",
        "empty environment",
    ],
)
def test_targets_come_from_the_first_place_that_has_any(option, ini, environment, targets):
    settings = resolved({"tlsandbox": option}, {"tlsandbox": ini}, {"TLSANDBOX": environment})

    assert settings.targets == targets


@pytest.mark.parametrize(
    ("option", "ini", "environment", "url"),
    [
        ("http://a", "http://b", "http://c", "http://a"),
        (None, "http://b", "http://c", "http://b"),
        (None, "", "http://c", "http://c"),
        (None, "", "", None),
    ],
    ids=["option", "ini", "environment", "none"],
)
def test_the_proxy_url_comes_from_the_first_place_that_has_one(option, ini, environment, url):
    settings = resolved(
        {"tlsandbox_proxy_url": option},
        {"tlsandbox_proxy_url": ini},
        {"TENSORLAKE_SANDBOX_PROXY_URL": environment},
    )

    assert settings.proxy_url == url


def test_rules_of_the_guard_come_from_option_or_ini_in_the_order_of_the_table():
    ini = {"tlsandbox_guard": "leak oom", "tlsandbox_guard_report_only": True}

    assert resolved().guard == ()
    assert resolved(ini=ini).guard == ("oom", "leak")
    assert resolved(ini=ini).guard_report_only
    settings = resolved({"tlsandbox_guard": ["crash, oom,crash"]}, ini)
    assert settings.guard == ("oom", "crash")
    assert resolved({"tlsandbox_guard": ["leak", "oom"]}).guard == ("oom", "leak")
    assert not resolved({"tlsandbox_guard": ["oom"]}).guard_report_only
    assert resolved({"tlsandbox_guard_report_only": True}).guard_report_only


def test_a_report_is_named_from_where_it_was_said():
    """On the command line from where pytest was started, in the ini file from the root folder."""
    assert resolved().report is None
    assert resolved({"tlsandbox_report": "new/out.json"}).report == Path("/tmp/new/out.json")
    assert resolved(ini={"tlsandbox_report": "tmp/out.json"}).report == Path("/tmp/out.json")
    assert resolved({"tlsandbox_report": "/tmp/a.json"}).report == Path("/tmp/a.json")


@pytest.mark.parametrize(
    ("text", "end"),
    [("ooms", "; did you mean 'oom'?"), ("everything", ""), ("OOM", "; did you mean 'oom'?")],
)
def test_what_is_no_rule_is_told_with_the_rules_there_are(text, end):
    assert message(parse_rules, [text], "here") == (
        f"here: unknown guard rule {text!r}; expected one of oom, crash, restart, unhealthy, leak{end}"
    )


def test_time_and_memory_come_from_option_or_ini():
    ini = {"tlsandbox_timeout": "2m", "tlsandbox_memory": "1G"}

    assert resolved(ini=ini) == Settings((), None, 120.0, G)
    assert resolved({"tlsandbox_timeout": "500ms", "tlsandbox_memory": "256M"}, ini) == Settings(
        (), None, 0.5, 256 * M
    )


@pytest.mark.parametrize(
    "name", ["TLSANDBOX_TIMEOUT", "TLSANDBOX_MEMORY", "TIMEOUT", "TENSORLAKE_API_KEY"]
)
def test_the_environment_sets_nothing_else(name):
    assert resolved(environment={name: "nonsense"}) == resolved()


TIME = "expected a time > 0, in seconds (30) or with a unit (500ms, 30s, 2m, 1h)"
SIZE = "expected a memory size of at least 1M, in bytes or with a unit (256M, 1.5G)"
TARGET = "expected 'local', the id or name of a sandbox (letters, digits, - and _) or a URL"
URL = (
    "expected a URL of the form https://host[:port][/path] without user, password, query and "
    "fragment, got another text (not shown: it may hold a password)"
)


@pytest.mark.parametrize(
    ("options", "ini", "environment", "text"),
    [
        ({"tlsandbox_timeout": "soon"}, {}, {}, f"--tlsandbox-timeout: {TIME}, got 'soon'"),
        (
            {},
            {"tlsandbox_timeout": "0"},
            {},
            f"tlsandbox_timeout in pyproject.toml: {TIME}, got '0'",
        ),
        ({"tlsandbox_memory": "much"}, {}, {}, f"--tlsandbox-memory: {SIZE}, got 'much'"),
        ({}, {"tlsandbox_memory": "1"}, {}, f"tlsandbox_memory in pyproject.toml: {SIZE}, got '1'"),
        ({"tlsandbox": ["ok", "a/b"]}, {}, {}, f"--tlsandbox: {TARGET}, got 'a/b'"),
        ({"tlsandbox": [""]}, {}, {}, f"--tlsandbox: {TARGET}, got ''"),
        ({}, {"tlsandbox": ["a b"]}, {}, f"tlsandbox in pyproject.toml: {TARGET}, got 'a b'"),
        ({}, {}, {"TLSANDBOX": "ok a/b"}, f"environment variable TLSANDBOX: {TARGET}, got 'a/b'"),
        ({"tlsandbox": ["https://me:pw@x"]}, {}, {}, f"--tlsandbox: {URL}"),
        ({"tlsandbox_proxy_url": "x.example"}, {}, {}, f"--tlsandbox-proxy-url: {URL}"),
        ({}, {"tlsandbox_proxy_url": "x"}, {}, f"tlsandbox_proxy_url in pyproject.toml: {URL}"),
        (
            {},
            {},
            {"TENSORLAKE_SANDBOX_PROXY_URL": "ftp://x"},
            f"environment variable TENSORLAKE_SANDBOX_PROXY_URL: {URL}",
        ),
    ],
    ids=[
        "timeout option",
        "timeout ini",
        "memory option",
        "memory ini",
        "target option",
        "empty target",
        "target ini",
        "target environment",
        "target with a password",
        "proxy option",
        "proxy ini",
        "proxy environment",
    ],
)
def test_a_bad_value_says_where_it_came_from_and_what_is_allowed(options, ini, environment, text):
    assert message(resolved, options, ini, environment) == text


@pytest.mark.parametrize("name", ["tlsandbox_timeout", "tlsandbox_memory", "tlsandbox_proxy_url"])
def test_an_empty_option_is_not_passed_over(name):
    # As from --tlsandbox-timeout=$UNSET: the ini file must not speak in its place.
    with pytest.raises(InvalidSetting):
        resolved({name: ""})


def test_a_bad_value_of_no_file_is_one_of_the_ini_file():
    config = Config(ini={"tlsandbox_timeout": "x"}, inipath=None)

    assert message(checked, config, {}) == f"tlsandbox_timeout in the ini file: {TIME}, got 'x'"


@pytest.mark.parametrize(
    ("option", "ini", "flag"),
    [
        (option, ini, flag)
        for option, (ini, flag) in zip(
            OPTIONS,
            [
                ("tlsandbox", "--tlsandbox"),
                ("tlsandbox_proxy_url", "--tlsandbox-proxy-url"),
                ("tlsandbox_timeout", "--tlsandbox-timeout"),
                ("tlsandbox_memory", "--tlsandbox-memory"),
            ],
            strict=False,
        )
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_option_is_called(option, ini, flag):
    assert (option.ini, option.flag) == (ini, flag)


def test_no_option_takes_the_api_key():
    names = [f"{option.flag} {option.ini} {option.environment}" for option in OPTIONS]

    assert [name for name in names if "key" in name.lower()] == []


# Times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("30s", 30.0),
        ("30 s", 30.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        ("500ms", 0.5),
        ("2m", 120.0),
        ("1.5m", 90.0),
        ("1h", 3600.0),
        ("0.001", 0.001),
    ],
)
def test_a_time_is_read(text, seconds):
    assert parse_time(text, "here") == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "0", "0s", "0.0", "-1", "+1", "soon", "1d", "1 min", "1e3", "inf", "nan", ".5", "5.",
     "1,5", "30 30", "s", "9" * 400],
)  # fmt: skip
def test_what_is_no_time_is_refused(text):
    assert message(parse_time, text, "here") == f"here: {TIME}, got {text!r}"


# Sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", M),
        ("268435456", 256 * M),
        ("256M", 256 * M),
        ("256m", 256 * M),
        ("256MB", 256 * M),
        ("256MiB", 256 * M),
        ("256 M", 256 * M),
        (" 256M ", 256 * M),
        ("1024K", M),
        ("1.5G", G + G // 2),
        ("1T", 1024 * G),
        ("1048576B", M),
    ],
)
def test_a_size_is_read_in_bytes(text, size):
    assert parse_size(text, "here") == size


@pytest.mark.parametrize(
    "text",
    ["", "0", "1", "1023K", "0.9M", "-5M", "+5M", "much", "M", "1P", "1e9", "256 MM", "1,5G",
     "nan", "9" * 400, "9" * 400 + "G"],
    ids=lambda text: text[:6] or "empty",
)  # fmt: skip
def test_what_is_no_size_is_refused(text):
    assert message(parse_size, text, "here") == f"here: {SIZE}, got {text!r}"


# Targets and URLs


@pytest.mark.parametrize(
    "target",
    [
        "local",
        "abc",
        "ABC-1_x",
        "7f3",
        "ci-{worker}",
        "{worker}",
        "{worker}-ci",
        "http://127.0.0.1:9443",
        "https://x.example/base/",
    ],
)
def test_a_target_is_accepted(target):
    check_target(target, "here")


@pytest.mark.parametrize(
    "target",
    ["", " ", "a b", "-x", "_x", "a/b", "a.b", "a:b", "a\n", "abc\u00e9", "{gw}", "a{", "x{worker"],
)
def test_what_is_no_target_is_refused(target):
    assert message(check_target, target, "here") == f"here: {TARGET}, got {target!r}"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://x.example", ("https", "x.example", None, None)),
        ("http://localhost:9443", ("http", "localhost", ":9443", None)),
        ("https://x.example/", ("https", "x.example", None, "/")),
        ("https://x.example:1/a/b@c:d", ("https", "x.example", ":1", "/a/b@c:d")),
        ("http://[::1]:9443/a", ("http", "[::1]", ":9443", "/a")),
        ("http://10.0.0.1", ("http", "10.0.0.1", None, None)),
    ],
)
def test_a_url_is_taken_apart(url, parts):
    assert check_url(url, "here").group("scheme", "host", "port", "path") == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x.example",
        "ftp://x.example",
        "//x.example",
        "https://",
        "https:///a",
        "https://user@x.example",
        "https://user:hunter2@x.example",
        "https://x.example?token=hunter2",
        "https://x.example/a?b",
        "https://x.example#a",
        "https://x.example:port",
        "https://x.example:",
        "https://a b",
        "https://x.example/a b",
        "https://[::1",
        "https://x.example\n",
        " https://x.example",
    ],
)
def test_what_is_no_url_is_refused_and_not_repeated(url):
    assert message(check_url, url, "here") == f"here: {URL}"


# Workers


@pytest.mark.parametrize(
    ("target", "environment", "filled"),
    [
        ("ci-{worker}", {"PYTEST_XDIST_WORKER": "gw3"}, "ci-gw3"),
        ("ci-{worker}", {}, "ci-master"),
        ("{worker}-{worker}", {"PYTEST_XDIST_WORKER": "gw3"}, "gw3-gw3"),
        ("https://{worker}.x.example", {"PYTEST_XDIST_WORKER": "gw3"}, "https://gw3.x.example"),
        ("local", {"PYTEST_XDIST_WORKER": "gw3"}, "local"),
    ],
)
def test_the_worker_is_filled_in(target, environment, filled):
    assert fill_worker(target, environment) == filled


# Own patterns


def test_patterns_of_what_is_secret_come_from_the_ini_file():
    given = resolved(ini={"tlsandbox_mask": ["acme-[0-9]+", "x.y"]})

    assert [mask.pattern for mask in given.masks] == ["acme-[0-9]+", "x.y"]


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        (
            "[a",
            "expected a regular expression, got '[a' (unterminated character set at position 0)",
        ),
        ("a*", "expected an expression that does not match empty text, got 'a*'"),
    ],
)
def test_a_pattern_that_means_nothing_is_told(pattern, sentence):
    config = Config(ini={"tlsandbox_mask": [pattern]})

    assert message(checked, config, {}) == f"tlsandbox_mask in pyproject.toml: {sentence}"
