"""What can be set, where it may come from, and what it may be.

One table says for each setting its option, its ini key and its environment variable. The command
line beats the ini file, which beats the environment. A bad value is an :class:`InvalidSetting`
that names where it came from and what is allowed.
"""

from __future__ import annotations

import math
import os
import re
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_tlsandbox.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pytest

API_KEY_VARIABLE = "TENSORLAKE_API_KEY"
LOCAL = "local"
RULES = ("oom", "crash", "restart", "unhealthy", "leak")
"""What the guard can watch for."""
FACTS = "tlsandbox_facts"
"""The attribute of a report, and the key of an xdist worker's output, that carries what was seen."""


# Named tuples, since it takes 0.4 ms of every start of pytest to make a dataclass.
class Option(NamedTuple):
    """One setting: where it may be given, and the help that option and ini key share.

    Without a ``metavar`` it is a switch.
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
    "'{worker}' stands for the xdist worker. Given several times, each test runs on each.",
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
    "How long a wait goes on when the test does not say: 30, '30s', '2m' (default: 30s).",
    "TIME",
)
MEMORY = Option(
    "memory",
    "Memory limit of the embedded sandbox: '256M', '1G' (default: none).",
    "SIZE",
)
GUARD = Option(
    "guard",
    "Fail the test in which one of these happens in the sandbox, even if it never looks: "
    f"{', '.join(RULES)}; several with commas (default: none).",
    "RULES",
)
GUARD_REPORT_ONLY = Option(
    "guard_report_only", "Have the guard tell what it finds, and fail nothing.", None
)
REPORT = Option(
    "report",
    "Write what was seen of the processes to this file: a timeline to look at where its name ends "
    "in .html, else JSON.",
    "PATH",
)
OPTIONS = (TARGET, PROXY_URL, TIMEOUT, MEMORY, GUARD, GUARD_REPORT_ONLY, REPORT)


GUARD_MARKER, ALLOW_MARKER = MARKER_NAMES = "tlsandbox_guard", "tlsandbox_allow"
MARKERS = (
    (
        f"{GUARD_MARKER}(*rules): the guard judges this test by these rules ({', '.join(RULES)}), "
        "whatever the command line says; without any, by none"
    ),
    (
        f"{ALLOW_MARKER}(*rules, reason): what the guard finds in this test by these rules is meant, "
        "and fails nothing; the reason is compulsory, and shown"
    ),
)
MASK_INI = "tlsandbox_mask"
"""Ini key only: what is secret is a matter of the project."""
MASK_HELP = "Regular expressions, one a line: what fits one is shown as ***, as a secret is."


class Settings(NamedTuple):
    """All settings, checked. ``timeout`` is in seconds, ``memory`` in bytes.

    ``guard``: the rules of the guard, none if it is off. ``report``: an absolute path.
    """

    targets: tuple[str, ...]
    proxy_url: str | None
    timeout: float
    memory: int | None
    guard: tuple[str, ...] = ()
    guard_report_only: bool = False
    report: Path | None = None
    masks: tuple[re.Pattern[str], ...] = ()


def resolve(config: pytest.Config, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read and check every setting.

    Raises:
        InvalidSetting: a value means nothing; the message says where it came from.

    """
    targets, where = _read(config, TARGET, environment)
    for target in targets:
        check_target(target, where)
    proxy_urls, where = _read(config, PROXY_URL, environment)
    for url in proxy_urls:
        check_url(url, where)
    timeouts, timeout_source = _read(config, TIMEOUT, environment)
    sizes, size_source = _read(config, MEMORY, environment)
    rules, rules_source = _read(config, GUARD, environment)
    switches, _ = _read(config, GUARD_REPORT_ONLY, environment)
    reports, report_source = _read(config, REPORT, environment)
    return Settings(
        targets=tuple(dict.fromkeys(targets)),
        proxy_url=proxy_urls[0] if proxy_urls else None,
        timeout=parse_time(timeouts[0], timeout_source) if timeouts else 30.0,
        memory=parse_size(sizes[0], size_source) if sizes else None,
        guard=parse_rules(rules, rules_source) if rules else (),
        guard_report_only=bool(switches),
        report=check_report(reports[0], report_source, config) if reports else None,
        masks=tuple(
            map(_parse_mask, config.getini(MASK_INI), repeat(_ini_source(config, MASK_INI)))
        ),
    )


def _read(
    config: pytest.Config, option: Option, environment: Mapping[str, str]
) -> tuple[Sequence[str], str]:
    """Give the values from the first place that has any, and the name of that place."""
    given = config.getoption(option.ini)
    if given is not None:
        return (given if option.repeatable else [given]), option.flag
    given = config.getini(option.ini)
    if given:
        return (given if option.repeatable else [given]), _ini_source(config, option.ini)
    given = environment.get(option.environment, "").strip() if option.environment else ""
    if given:
        values = given.split() if option.repeatable else [given]
        return values, f"environment variable {option.environment}"
    return [], ""


def _ini_source(config: pytest.Config, key: str) -> str:
    return f"{key} in {config.inipath.name if config.inipath else 'the ini file'}"


def _parse_mask(text: str, source: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InvalidSetting(f"{source}: {text!r} is no regular expression ({error})") from None
    if pattern.search(""):
        raise InvalidSetting(f"{source}: {text!r} fits an empty text, and so every place")
    return pattern


# The expressions are compiled when they are first used: a suite without a sandbox uses none.
_NUMBER = r"(?P<number>\d{1,15}(?:\.\d{1,9})?)"
_TIME = rf"{_NUMBER}\s*(?P<unit>ms|s|m|h)?"
_SECONDS = {"ms": 0.001, "s": 1, None: 1, "m": 60, "h": 3600}


def parse_time(text: str, source: str) -> float:
    """Read a time in seconds from ``30``, ``30s``, ``500ms``, ``2m`` or ``1h``."""
    match = re.fullmatch(_TIME, text.strip())
    seconds = float(match["number"]) * _SECONDS[match["unit"]] if match else math.nan
    if not 0 < seconds < math.inf:
        raise InvalidSetting(
            f"{source}: {text!r} is not a time above zero; give seconds (30) or a unit "
            "(500ms, 30s, 2m, 1h)"
        )
    return seconds


_SIZE = rf"(?i){_NUMBER}\s*(?P<unit>[KMGT]?)(?:i?B)?"
_SMALLEST_MEMORY = 2**20


def parse_size(text: str, source: str) -> int:
    """Read a size in bytes from ``268435456``, ``256M``, ``1.5G``; K, M, G, T are powers of 1024."""
    match = re.fullmatch(_SIZE, text.strip())
    size = 0
    if match:
        size = int(float(match["number"]) * 1024 ** " KMGT".index(match["unit"].upper() or " "))
    if size < _SMALLEST_MEMORY:
        raise InvalidSetting(
            f"{source}: {text!r} is not a memory size of 1M or more; give bytes or a unit "
            "(256M, 1.5G)"
        )
    return size


def parse_rules(texts: Iterable[object], source: str) -> tuple[str, ...]:
    """Read rules of the guard, ``oom,crash``, in the order of the table.

    Raises:
        InvalidSetting: there is no such rule, or none is given.

    """
    given = [word for text in texts for word in re.split(r"[,\s]+", str(text)) if word]
    for word in given:
        if word not in RULES:
            import difflib

            near = difflib.get_close_matches(word.lower(), RULES, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InvalidSetting(
                f"{source}: {word!r} is no rule of the guard; there are {', '.join(RULES)}{hint}"
            )
    if not given:
        raise InvalidSetting(f"{source}: give one or several of {', '.join(RULES)}")
    return tuple(rule for rule in RULES if rule in given)


def check_report(text: str, source: str, config: pytest.Config) -> Path:
    """Give the absolute path of a report that can be written; missing folders are made later.

    Raises:
        InvalidSetting: it cannot.

    """
    start = config.invocation_params.dir if source == REPORT.flag else config.rootpath
    path = Path(start, Path(text).expanduser())
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not text.strip() or text.endswith(("/", os.sep)) or path.is_dir():
        reason = "it is a folder; name a file"
    elif not folder.is_dir():
        reason = f"{folder} is no folder"
    elif not _is_writable(folder):
        reason = f"nothing can be written in {folder}"
    else:
        return path
    raise InvalidSetting(f"{source}: {text!r} cannot be written: {reason}")


def _is_writable(folder: Path) -> bool:
    """Try it: root may write by the mode bits where nothing can be written."""
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


_IDENTIFIER = r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\{worker\})*|\{worker\}[A-Za-z0-9_-]*"
_URL = r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^/@:\s\[\]?#]+)(?P<port>:\d+)?(?P<path>/[^\s?#]*)?"


def check_target(target: str, source: str) -> None:
    """Raise InvalidSetting unless the text is ``local``, an id or name, or a URL."""
    if "://" in target:
        check_url(target, source)
    elif not re.fullmatch(_IDENTIFIER, target):
        raise InvalidSetting(
            f"{source}: {target!r} is not a sandbox; give 'local', the id or name of one "
            "(letters, digits, - and _), or a URL"
        )


def check_url(url: str, source: str) -> re.Match[str]:
    """Raise InvalidSetting unless the text is an http or https URL without credentials."""
    match = re.fullmatch(_URL, url)
    if match is None:
        # Not quoted: it may hold a password.
        raise InvalidSetting(
            f"{source}: not a URL of the form https://host[:port][/path], with no user, "
            "password, query or fragment"
        )
    return match


def fill_worker(target: str, environment: Mapping[str, str] = os.environ) -> str:
    """Put the name of the xdist worker ("gw0"; "master" without xdist) in place of ``{worker}``."""
    return target.replace("{worker}", environment.get("PYTEST_XDIST_WORKER", "master"))
