"""The settings, their sources and their allowed values."""

import os
import re
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from pytest_tlsandbox.errors import InvalidSetting
from pytest_tlsandbox.setting_parsers import check, check_target, check_url, parse_size, parse_time
from pytest_tlsandbox.settings import Settings, read
from tests.support import failure

M, G = 2**20, 2**30
NOTHING = {}


def resolved(options=NOTHING, ini=NOTHING, environment=NOTHING, inipath="/suite/pyproject.toml"):
    """Return the settings from these values by ``dest``, by ini key and by environment variable."""
    invocation = SimpleNamespace(dir=Path("/tmp"), args=())
    config = SimpleNamespace(rootpath=Path("/"), invocation_params=invocation)
    config.inipath = inipath and Path(inipath)
    config.getoption, config.getini = options.get, lambda name: ini.get(name, "")
    with patch.dict(os.environ, environment, clear=True):
        return check(read(config), config)


# The source of a value


TARGETS = [
    (["a", "b", "a"], ["c"], "d", ("a", "b")),
    (None, ["a", "b"], "c", ("a", "b")),
    (None, [], "a b", ("a", "b")),
    (None, [], "  ", ()),
]


@pytest.mark.parametrize(("option", "ini", "variable", "targets"), TARGETS)
def test_sandboxes_come_from_the_first_source_that_names_any(option, ini, variable, targets):
    settings = resolved({"tlsandbox": option}, {"tlsandbox": ini}, {"TLSANDBOX": variable})

    assert settings.targets == targets


VALUES = [
    ("proxy_url", "http://a", "http://a", "http://b", "http://b"),
    ("timeout", "2m", 120.0, "500ms", 0.5),
    ("memory", "1G", G, "256M", 256 * M),
    ("guard", ["leak oom"], ("oom", "leak"), ["crash, oom,crash"], ("oom", "crash")),
    # From the root folder; a path on the command line starts where pytest was started.
    ("report", "tmp/a.json", Path("/tmp/a.json"), "new/b.json", Path("/tmp/new/b.json")),
    ("output", "tmp/out", Path("/tmp/out"), "/new/", Path("/new")),
    *((name, *[True] * 4) for name in ("guard_report_only", "no_section", "no_kernel_counter")),
]


@pytest.mark.parametrize(("field", "in_file", "from_file", "given", "from_option"), VALUES)
def test_command_line_option_overrides_the_ini_key_and_the_default(
    field, in_file, from_file, given, from_option
):
    ini, options = {f"tlsandbox_{field}": in_file}, {f"tlsandbox_{field}": given}

    assert resolved(ini=ini) == Settings()._replace(**{field: from_file})
    assert resolved(options, ini) == Settings()._replace(**{field: from_option})
    assert resolved(options) == resolved(options, ini)


def test_patterns_of_secrets_are_read_from_the_ini_file():
    masks = resolved(ini={"tlsandbox_mask": ["acme-[0-9]+", "x.y"]}).masks

    assert masks == (re.compile("acme-[0-9]+"), re.compile("x.y"))


# Invalid values

TIME = "expected a time > 0, in seconds (30) or with a unit (500ms, 30s, 2m, 1h)"
SIZE = "expected a memory size of at least 1M, in bytes or with a unit (256M, 1.5G)"
TARGET = "expected 'local', the id or name of a sandbox (letters, digits, - and _) or a URL"
URL = (
    "expected a URL of the form https://host[:port][/path] without user, password, query or "
    "fragment, got a text that is not shown because it may contain a password"
)
INVALID_VALUES = [
    ({"options": {"tlsandbox": ["https://me:pw@x"]}}, f"--tlsandbox: {URL}"),
    # As from --tlsandbox-timeout=$UNSET: the value of the ini file must not replace it.
    ({"options": {"tlsandbox_timeout": ""}, "ini": {"tlsandbox_timeout": "5"}},
     f"--tlsandbox-timeout: {TIME}, got ''"),
    ({"ini": {"tlsandbox_timeout": "0"}}, f"tlsandbox_timeout in pyproject.toml: {TIME}, got '0'"),
    ({"ini": {"tlsandbox_timeout": "0"}, "inipath": None},
     f"tlsandbox_timeout in the ini file: {TIME}, got '0'"),
    ({"ini": {"tlsandbox_mask": ["[a"]}}, "tlsandbox_mask in pyproject.toml: expected a regular "
     "expression, got '[a' (unterminated character set at position 0)"),
    ({"options": {"tlsandbox_report": "/"}},
     "--tlsandbox-report: '/' cannot be written: it is a folder; give the path of a file"),
    ({"environment": {"TENSORLAKE_SANDBOX_PROXY_URL": "ftp://x"}},
     f"environment variable TENSORLAKE_SANDBOX_PROXY_URL: {URL}"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "text"), INVALID_VALUES)
def test_error_for_an_invalid_setting_names_the_source_and_the_expected_values(given, text):
    assert str(failure(lambda: resolved(**given), InvalidSetting)) == text


# Times, sizes, targets and URLs

VALID = {
    parse_time: {"30": 30, "30 s": 30, " 30 ": 30, "500ms": 0.5, "1.5m": 90, "1h": 3600,
                 "0.001": 0.001},
    parse_size: {"1048576": M, "256m": 256 * M, "256MB": 256 * M, "256MiB": 256 * M,
                 " 256 M ": 256 * M, "1024K": M, "1.5G": G + G // 2, "1T": 1024 * G},
    check_target: {name: name for name in (
                   "local", "ABC-1_x", "7f3", "ci-{worker}", "http://[::1]:9443")},
}  # fmt: skip
INVALID = {
    (parse_time, TIME): ["", " ", "0", "0s", "0.0", "-1", "+1", "soon", "1d", "1 min", "1e3", "inf",
        "nan", ".5", "5.", "1,5", "30 30", "s", "9" * 400],
    (parse_size, SIZE): ["", "0", "1", "1023K", "0.9M", "-5M", "+5M", "much", "M", "1P", "1e9",
        "256 MM", "1,5G", "nan", "9" * 400, "9" * 400 + "G"],
    (check_target, TARGET): ["", " ", "a b", "-x", "_x", "a/b", "a.b", "a:b", "a\n", "abc\u00e9",
        "{gw}", "a{", "x{worker"],
    (check_url, URL): ["", "x.example", "ftp://x.example", "//x.example", "https://", "https:///a",
        "https://user@x.example", "https://user:hunter2@x.example", "https://x.example#a",
        "https://x.example?token=hunter2", "https://x.example/a?b", "https://x.example:port",
        "https://x.example:", "https://a b", "https://[::1", "https://x.example/a b",
        "https://x.example\n", " https://x.example"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [(parse, text, value) for parse, found in VALID.items() for text, value in found.items()],
)
def test_valid_time_is_read_as_seconds_and_size_as_bytes_and_target_as_it_is(parse, text, value):
    assert parse(text, "here") == pytest.approx(value)


@pytest.mark.parametrize(
    ("parse", "expected", "text"),
    [(*kind, text) for kind, texts in INVALID.items() for text in texts],
    ids=lambda value: getattr(value, "__name__", value)[:12],
)
def test_error_for_an_invalid_setting_does_not_show_an_invalid_url(parse, expected, text):
    received = "" if parse is check_url else f", got {text!r}"
    error = failure(lambda: parse(text, "here"), InvalidSetting)
    assert str(error) == f"here: {expected}{received}"
