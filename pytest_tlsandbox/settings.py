"""Options, ini keys and environment variables.

The command line overrides the ini file, which overrides the environment. The module
``setting_parsers`` checks the values. This module is imported only if a suite sets a value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

API_KEY_VARIABLE = "TENSORLAKE_API_KEY"
LOCAL = "local"
RULES = ("oom", "crash", "restart", "unhealthy", "leak")
"""The rules of the guard."""
FACTS = "tlsandbox_facts"
"""The attribute of a test report, and the key in the output of a worker, for recorded facts."""


# These classes are named tuples because creating a dataclass adds 0.4 ms to every start of pytest.
class Option(NamedTuple):
    """What one setting accepts, and the help text for its option and its ini key.

    Attributes:
        help: the help text.
        metavar: the placeholder for the value in the help; None for a switch.
        environment: the environment variable of the setting; None if the setting does not have a
            variable.
        repeatable: whether the setting may have several values; if so, the option may be repeated,
            and the ini file contains one value per line.

    """

    help: str
    metavar: str | None = None
    environment: str | None = None
    repeatable: bool = False


OPTIONS = {
    "tlsandbox": Option(
        "The id, name or URL of the sandbox to test, or 'local' for the embedded sandbox. '{worker}' is "
        "replaced by the name of the xdist worker. If several sandboxes are given, each test runs on each "
        "of the sandboxes. To give several, repeat the option, write one sandbox per line in the ini file, "
        "or separate the sandboxes with spaces in the environment variable.",
        "TARGET",
        environment="TLSANDBOX",
        repeatable=True,
    ),
    "tlsandbox_proxy_url": Option(
        "URL of the proxy through which sandboxes are reached by id or name "
        "(default: none; requests go to https://<id>.sandbox.tensorlake.ai).",
        "URL",
        environment="TENSORLAKE_SANDBOX_PROXY_URL",
    ),
    "tlsandbox_timeout": Option(
        "Timeout of waits without a timeout argument, in seconds or with a unit: 30, 500ms, 30s, 2m, 1h "
        "(default: 30s).",
        "TIME",
    ),
    "tlsandbox_memory": Option(
        "Memory limit of the embedded sandbox, in bytes or with a unit: 256M, 1.5G (default: none).",
        "SIZE",
    ),
    "tlsandbox_guard": Option(
        f"Apply these rules of the guard: {', '.join(RULES)}. A rule fails a test if such an incident happens "
        "in the sandbox during the test, even if the test does not check anything. To give several rules, "
        "separate them with commas, or repeat the option (default: none).",
        "RULES",
        repeatable=True,
    ),
    "tlsandbox_guard_report_only": Option(
        "Report the findings of the guard, but do not fail tests because of findings.",
    ),
    "tlsandbox_report": Option(
        "Record what happens in the sandbox, and write a report to this file when the session ends. The "
        "report is an HTML timeline if the name of the file ends in .html, otherwise JSON (default: none).",
        "PATH",
    ),
    "tlsandbox_no_section": Option(
        "Do not show below a failed test what happened in the sandbox during the test. This saves up to "
        "one list call and 1 s for each failed test.",
    ),
    "tlsandbox_output": Option(
        "When a test fails, write the complete output of each process that the test started to a file in "
        "this folder (default: none).",
        "DIR",
    ),
    "tlsandbox_no_kernel_counter": Option(
        "Do not read how many OOM kills the kernel of the sandbox has counted. Then the plugin does not find "
        "OOM kills of processes that the sandbox does not list, such as the children of a shell.",
    ),
}
"""All options, by their keys in the ini file, which are also their ``dest``."""


def flag_of(key: str) -> str:
    """Return the command-line option for a key of the ini file."""
    return "--" + key.replace("_", "-")


GUARD_MARKER, ALLOW_MARKER = MARKER_NAMES = "tlsandbox_guard", "tlsandbox_allow"
MARKERS = (
    (
        f"{GUARD_MARKER}(*rules): apply only these rules of the guard to this test "
        f"({', '.join(RULES)}); without rules, the guard is off for this test"
    ),
    (
        f"{ALLOW_MARKER}(*rules, reason): allow findings of these rules in this test, so that the "
        "findings do not fail the test; a reason is required, and the report shows the reason"
    ),
)
MASK_INI = "tlsandbox_mask"
"""The ini key for patterns of secrets, which has no option because they belong to the project."""
MASK_HELP = "Regular expressions that match secrets, one per line. Matching text is shown as ***."

DOCTOR_HELP = (
    "Do not run tests. Instead, print the settings and their sources, whether the key works, what the "
    "sandbox supports, and what to do next. Include this output if you report a problem."
)


class Settings(NamedTuple):
    """All settings, after their values have been checked.

    Attributes:
        targets: the sandboxes to test: ids, names, URLs or "local".
        proxy_url: the URL of the proxy to sandboxes; None for no proxy.
        timeout: the timeout of waits without a timeout argument, in seconds.
        memory: the memory limit of the embedded sandbox, in bytes; None for no limit.
        guard: the rules of the guard; empty if the guard is off.
        guard_report_only: whether the guard only reports its findings and does not fail tests.
        report: the absolute path of the report; None for no report.
        no_section: whether failed tests do not show what happened in the sandbox.
        masks: the user's patterns for secrets.
        output: the absolute path of the folder for the output of failed tests; None for no output.
        no_kernel_counter: whether the kernel's count of OOM kills is not read.

    """

    targets: tuple[str, ...] = ()
    proxy_url: str | None = None
    timeout: float = 30.0
    memory: int | None = None
    guard: tuple[str, ...] = ()
    guard_report_only: bool = False
    report: Path | None = None
    no_section: bool = False
    masks: tuple[re.Pattern[str], ...] = ()
    output: Path | None = None
    no_kernel_counter: bool = False


def read(config: pytest.Config) -> dict[str, tuple[Sequence[str], str]]:
    """Read the settings that were given, without checking their values.

    Args:
        config: the configuration of pytest.

    Returns:
        A mapping that contains each setting that was given. The keys are fields of
        :class:`Settings`. Each value is a pair: the texts that were given, and the name of their
        source, such as "--tlsandbox".

    Raises:
        pytest.UsageError: the ini file contains a value of a wrong type.

    """
    given = {key.partition("_")[2] or "targets": _read(config, key) for key in OPTIONS}
    given["masks"] = _read_ini(config, MASK_INI)
    return {field: (texts, source) for field, (texts, source) in given.items() if texts}


def _read(config: pytest.Config, key: str) -> tuple[Sequence[str], str]:
    """Return the values from the first source that has a value, and the name of this source."""
    option, given = OPTIONS[key], config.getoption(key)
    if given is not None:
        return (given if option.repeatable else [given]), flag_of(key)
    texts, source = _read_ini(config, key)
    if texts:
        return texts, source
    text = os.environ.get(option.environment or "", "").strip()
    texts = [text] if text and not option.repeatable else text.split()
    return texts, f"environment variable {option.environment}"


def _read_ini(config: pytest.Config, key: str) -> tuple[Sequence[Any], str]:
    """Return the values of an ini key, and their source.

    Raises:
        pytest.UsageError: the ini file contains a value of a wrong type.

    """
    source = f"{key} in {config.inipath.name if config.inipath else 'the ini file'}"
    try:
        given = config.getini(key)
    except (TypeError, ValueError, pytest.UsageError) as error:
        raise pytest.UsageError(f"{source}: {error}") from None
    if isinstance(given, list):
        return given, source
    return ([given] if given else []), source
