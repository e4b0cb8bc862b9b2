"""Parse and check the values of settings.

An invalid value raises :class:`InvalidSetting`. The message of this error names the allowed values
and the source of the invalid value. The argument ``source`` of each function names an option, an
ini key, an environment variable or a marker.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_tlsandbox.errors import InvalidSetting
from pytest_tlsandbox.settings import RULES, Settings

if TYPE_CHECKING:
    import pytest


def check(given: Mapping[str, tuple[Sequence[str], str]], config: pytest.Config) -> Settings:
    """Check the settings that were given.

    Args:
        given: the values of each setting and their source, as ``settings.read`` returns them.
        config: the configuration of pytest.

    Returns:
        All settings. Settings that were not given have their default values.

    Raises:
        InvalidSetting: a value is invalid.

    """
    readers: dict[str, Callable[[Sequence[str], str], Any]] = {
        "targets": lambda texts, source: tuple(
            dict.fromkeys(check_target(text, source) for text in texts)
        ),
        "proxy_url": lambda texts, source: check_url(texts[0], source).string,
        "timeout": lambda texts, source: parse_time(texts[0], source),
        "memory": lambda texts, source: parse_size(texts[0], source),
        "guard": parse_rules,
        "report": lambda texts, source: check_path(texts[0], source, config, "file"),
        "output": lambda texts, source: check_path(texts[0], source, config, "folder"),
        "masks": lambda texts, source: tuple(parse_mask(text, source) for text in texts),
    }
    settings: dict[str, Any] = dict.fromkeys(given, True)  # the value of a switch
    settings |= {field: readers[field](*given[field]) for field in readers if field in given}
    return Settings(**settings)


HOW_TO_NAME_A_SANDBOX = (
    "pass --tlsandbox local for the embedded sandbox or --tlsandbox ID for a real one, or set tlsandbox "
    "in the ini file or TLSANDBOX in the environment"
)


def single_target(targets: Sequence[str]) -> str:
    """Return the sandbox for a test that was not parametrized with a sandbox.

    Args:
        targets: the sandboxes that were given.

    Returns:
        The only given sandbox.

    Raises:
        InvalidSetting: no sandbox was given, or more than one.

    """
    if not targets:
        raise InvalidSetting(
            f"no sandbox to test, because --tlsandbox is not set; {HOW_TO_NAME_A_SANDBOX}"
        )
    if len(targets) > 1:
        raise InvalidSetting(
            f"several sandboxes were given ({', '.join(targets)}), but a test that requests tlsandbox "
            "with getfixturevalue or in a TestCase can use only one sandbox; request tlsandbox as an "
            "argument of a test function instead"
        )
    return targets[0]


def _invalid(source: str, expected: str, text: str) -> InvalidSetting:
    return InvalidSetting(f"{source}: expected {expected}, got {text!r}")


def parse_mask(text: str, source: str) -> re.Pattern[str]:
    """Compile a regular expression for secrets."""
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidSetting(
            f"{source}: expected a regular expression, got {text!r} ({error})"
        ) from None


_SECONDS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600}
_BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _quantity(text: str, pattern: str, units: Mapping[str, float]) -> float:
    """Return a number multiplied by the value of its unit, or NaN if the text is invalid."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*" + pattern, text.strip())
    return float(match[1]) * units[match[2]] if match else math.nan


def parse_time(text: str, source: str) -> float:
    """Convert a time such as ``30``, ``30s``, ``500ms``, ``2m`` or ``1h`` to seconds."""
    seconds = _quantity(text, "(ms|s|m|h|)", _SECONDS)
    if not seconds > 0:
        expected = "a time > 0, in seconds (30) or with a unit (500ms, 30s, 2m, 1h)"
        raise _invalid(source, expected, text)
    return seconds


def parse_size(text: str, source: str) -> int:
    """Convert a size such as ``268435456``, ``256M`` or ``1.5G`` to bytes; 1K is 1024 bytes."""
    size = _quantity(text.upper(), "([KMGT]?)(?:I?B)?", _BYTES)
    if not size >= _BYTES["M"]:
        expected = "a memory size of at least 1M, in bytes or with a unit (256M, 1.5G)"
        raise _invalid(source, expected, text)
    return int(size)


def parse_rules(texts: Iterable[object], source: str) -> tuple[str, ...]:
    """Parse the names of guard rules.

    Args:
        texts: texts such as ``oom,crash``, in which commas or white space separate the rules.
        source: the source of the texts, for the error message.

    Returns:
        The rules without duplicates, in the order of :data:`RULES`.

    Raises:
        InvalidSetting: a rule is unknown, or no rule was given.

    """
    given = [word for text in texts for word in re.split(r"[,\s]+", str(text)) if word]
    for word in given:
        if word not in RULES:
            from pytest_tlsandbox.arguments import suggestion

            raise InvalidSetting(
                f"{source}: unknown guard rule {word!r}; expected one of {', '.join(RULES)}"
                f"{suggestion(word.lower(), RULES)}"
            )
    if not given:
        raise InvalidSetting(f"{source}: expected at least one rule ({', '.join(RULES)}); got none")
    return tuple(rule for rule in RULES if rule in given)


def check_path(
    text: str, source: str, config: pytest.Config, kind: Literal["file", "folder"]
) -> Path:
    """Check that a report or a folder can be written; missing folders are created later.

    Args:
        text: the path; a relative path from the option is relative to the current folder, and a
            relative path from the ini file is relative to the rootdir.
        source: the source of the path, for the error message.
        config: the configuration of pytest.
        kind: whether the path is the file of a report or a folder.

    Returns:
        The absolute path.

    Raises:
        InvalidSetting: the path cannot be written, the report would overwrite another file, or the
            option and its path are separate arguments.

    """
    start = config.invocation_params.dir if source.startswith("--") else config.rootpath
    path = Path(start, Path(text).expanduser())
    folder = path.parent if kind == "file" else path
    folder = next(filter(Path.exists, (folder, *folder.parents)))
    options = [*config.invocation_params.args, *os.environ.get("PYTEST_ADDOPTS", "").split()]
    if source in options:
        reason = f"pytest may mistake it for the path of a test; write {source}={text}, with an equals sign"
    elif not text.strip():
        reason = f"the path is empty; give the path of a {kind}"
    elif kind == "file" and (text.endswith(("/", os.sep)) or path.is_dir()):
        reason = "it is a folder; give the path of a file"
    elif not folder.is_dir():
        reason = f"{folder} is not a folder"
    elif not _is_writable(folder):
        reason = f"the folder {folder} is not writable"
    elif kind == "file" and path.exists() and not (path.is_file() and _is_report(path)):
        reason = "the file exists but is not a report of this plugin; remove the file, or give another path"
    else:
        return path
    raise InvalidSetting(f"{source}: {text!r} cannot be written: {reason}")


def _is_report(path: Path) -> bool:
    """Return whether a file may be replaced.

    A file may be replaced if it is empty or contains a report of this plugin.
    """
    with path.open("rb") as file:
        start = file.read(1000)
    return not start or b'"pytest_tlsandbox": ' in start or b'content="pytest-tlsandbox"' in start


def _is_writable(folder: Path) -> bool:
    """Return whether a file can be created in a folder.

    This function tries to create a file. The function does not check the mode bits of the folder,
    because mode bits do not apply to root.
    """
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


_IDENTIFIER = r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\{worker\})*|\{worker\}[A-Za-z0-9_-]*"
_URL = r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^/@:\s\[\]?#]+)(?P<port>:\d+)?(?P<path>/[^\s?#]*)?"


def check_target(target: str, source: str) -> str:
    """Return a target after checking that it is ``local``, a URL, or an id or name of a sandbox."""
    if "://" in target:
        check_url(target, source)
    elif not re.fullmatch(_IDENTIFIER, target):
        expected = "'local', the id or name of a sandbox (letters, digits, - and _) or a URL"
        raise _invalid(source, expected, target)
    return target


def check_url(url: str, source: str) -> re.Match[str]:
    """Check that a string is an http or https URL without credentials, and return its parts."""
    match = re.fullmatch(_URL, url)
    if match is None:
        # The message does not quote the text, because it may contain a password.
        raise InvalidSetting(
            f"{source}: expected a URL of the form https://host[:port][/path] without user, password, "
            "query or fragment, got a text that is not shown because it may contain a password"
        )
    return match
