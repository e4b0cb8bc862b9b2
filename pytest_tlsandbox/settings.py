"""Options, ini keys and environment variables.

The command line wins over the ini file, which wins over the environment. ``setting_parsers`` checks
the values; a suite that sets nothing does not import it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence
    from pathlib import Path

API_KEY_VARIABLE = "TENSORLAKE_API_KEY"
LOCAL = "local"
RULES = ("oom", "crash", "restart", "unhealthy", "leak")
"""The rules of the guard."""
FACTS = "tlsandbox_facts"
"""The attribute of a test report, and the key in an xdist worker's output, with the recorded facts."""


# Named tuples, because creating a dataclass adds 0.4 ms to every start of pytest.
class Option(NamedTuple):
    """One setting: its names, and the help text of its option and ini key.

    Without a ``metavar`` it is a switch. ``repeatable``: it may have several values; the option is
    given several times, and in the ini file each value has a line.
    """

    name: str
    help: str
    metavar: str | None
    environment: str | None = None
    repeatable: bool = False

    @property
    def ini(self) -> str:
        """The key in the ini file, which is also the option's ``dest``."""
        return f"tlsandbox_{self.name}" if self.name else "tlsandbox"

    @property
    def flag(self) -> str:
        """The command-line option."""
        return "--" + self.ini.replace("_", "-")


TARGET = Option(
    "",
    "Sandbox to test: 'local' for the embedded one, the id or name of a sandbox, or its URL. "
    "'{worker}' stands for the xdist worker. Given several times, each test runs on each "
    "(ini file: one a line; environment: with spaces in between).",
    "TARGET",
    environment="TLSANDBOX",
    repeatable=True,
)
PROXY_URL = Option(
    "proxy_url",
    "URL of the proxy through which sandboxes are reached by id "
    "(without it: https://<id>.sandbox.tensorlake.ai).",
    "URL",
    environment="TENSORLAKE_SANDBOX_PROXY_URL",
)
TIMEOUT = Option(
    "timeout",
    "Default timeout of waits: 30, '30s', '2m' (default: 30s).",
    "TIME",
)
MEMORY = Option(
    "memory", "Memory limit of the embedded sandbox: '256M', '1G' (default: none).", "SIZE"
)
GUARD = Option(
    "guard",
    "Fail the test in which one of these happens in the sandbox, even if it checks nothing: "
    f"{', '.join(RULES)}; several with commas, or the option several times (default: none).",
    "RULES",
    repeatable=True,
)
GUARD_REPORT_ONLY = Option(
    "guard_report_only", "Report the findings of the guard without failing tests.", None
)
REPORT = Option(
    "report",
    "Write the recorded processes to this file: a timeline if its name ends in .html, else JSON.",
    "PATH",
)
NO_SECTION = Option(
    "no_section",
    "Do not show under a failed test what happened in the sandbox during it (this takes at most one "
    "list call and 1 s for a failed test).",
    None,
)
OPTIONS = (TARGET, PROXY_URL, TIMEOUT, MEMORY, GUARD, GUARD_REPORT_ONLY, REPORT, NO_SECTION)


GUARD_MARKER, ALLOW_MARKER = MARKER_NAMES = "tlsandbox_guard", "tlsandbox_allow"
MARKERS = (
    (
        f"{GUARD_MARKER}(*rules): only these rules of the guard for this test ({', '.join(RULES)}); "
        "no arguments turns the guard off"
    ),
    (
        f"{ALLOW_MARKER}(*rules, reason): findings of these rules are expected in this test and do "
        "not fail it; the reason is required, and shown"
    ),
)
MASK_INI = "tlsandbox_mask"
"""Only an ini key, because the patterns of secrets belong to the project."""
MASK_HELP = "Regular expressions, one a line: what matches one is shown as ***, like a secret."


class Settings(NamedTuple):
    """All settings, checked. ``timeout`` is in seconds, ``memory`` in bytes.

    ``guard``: the rules of the guard, none if it is off. ``report``: an absolute path.
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


def read(
    config: pytest.Config, environment: Mapping[str, str] = os.environ
) -> dict[str, tuple[Sequence[str], str]]:
    """Return the texts of each setting that was given, and their source.

    The keys are the fields of :class:`Settings`. ``setting_parsers.check`` checks the texts.

    Raises:
        pytest.UsageError: a switch in the ini file is neither true nor false.

    """
    given = {option.name or "targets": _read(config, option, environment) for option in OPTIONS}
    masks, source = _read_ini(config, MASK_INI)
    given["masks"] = [masks] if isinstance(masks, str) else masks, source
    return {field: (texts, source) for field, (texts, source) in given.items() if texts}


def _read(
    config: pytest.Config, option: Option, environment: Mapping[str, str]
) -> tuple[Sequence[str], str]:
    """Return the values from the first source that has any, and the name of that source."""
    given = config.getoption(option.ini)
    if given is not None:
        return (given if option.repeatable else [given]), option.flag
    given, source = _read_ini(config, option.ini)
    if isinstance(given, list) and not option.repeatable:
        raise pytest.UsageError(f"{source}: expected one value, got {given!r}")
    if option.metavar is None and isinstance(given, str):
        if given not in ("true", "false"):
            raise pytest.UsageError(f"{source}: expected true or false, got {given!r}")
        given = given == "true"
    if given:
        return (given if isinstance(given, list) else [given]), source
    given = environment.get(option.environment, "").strip() if option.environment else ""
    if given:
        values = given.split() if option.repeatable else [given]
        return values, f"environment variable {option.environment}"
    return [], ""


def _read_ini(config: pytest.Config, key: str) -> tuple[Any, str]:
    """Return the value of an ini key, and where it was written.

    In the native tables of a TOML file, pytest 9 rejects ``tlsandbox_timeout = 5`` and
    ``tlsandbox_guard = "oom"``, which its other tables may have.
    """
    source = _ini_source(config, key)
    try:
        return config.getini(key), source
    except (
        TypeError,
        ValueError,
        pytest.UsageError,
    ) as error:  # before pytest 9.2, and from then on
        if config.inipath is not None and config.inipath.suffix == ".toml":
            if sys.version_info >= (3, 11):
                import tomllib
            else:
                import tomli as tomllib  # pytest installs it

            tables = tomllib.loads(config.inipath.read_text(encoding="utf-8"))
            value = tables.get("tool", tables).get("pytest", {}).get(key)
            if isinstance(value, (list, str, int, float)):
                return [*map(str, value)] if isinstance(value, list) else str(value), source
        if key in str(error):
            raise
        raise pytest.UsageError(f"{source}: {error}; give true or false") from None


def _ini_source(config: pytest.Config, key: str) -> str:
    return f"{key} in {config.inipath.name if config.inipath else 'the ini file'}"


def fill_worker(target: str, environment: Mapping[str, str] = os.environ) -> str:
    """Replace ``{worker}`` by the name of the xdist worker ("gw0"; "master" without xdist)."""
    return target.replace("{worker}", environment.get("PYTEST_XDIST_WORKER", "master"))
