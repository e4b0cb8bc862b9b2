"""Write docs/reference.md from the code; with ``--check``, only report whether it is stale."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from functools import cached_property
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from pages import ROOT, write_or_check

import pytest_tlsandbox
from pytest_tlsandbox import errors, plugin, settings, testing
from pytest_tlsandbox.arguments import start_options
from pytest_tlsandbox.async_sandbox import AsyncSandbox
from pytest_tlsandbox.client.api import ProcessLister
from pytest_tlsandbox.history.snapshot import Fields, ProcessSnapshot
from pytest_tlsandbox.local.sandbox import LocalSandbox, start_local_sandbox
from pytest_tlsandbox.models import CompletedProcess, ManagedProcess, ProcessInfo
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.soft_checks import Soft
from pytest_tlsandbox.waiting.selectors import by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = ROOT / "docs" / "reference.md"
WIDTH = 88
WITH_DATA = ("ChecksFailed", "InfrastructureError")
"""The errors that have additional attributes."""
HEAD = """\
# Reference

All public names. `make reference` writes this page from the docstrings, and CI checks that it is up to date. To
learn the plugin, start with the [guide](guide.md).

The [README](../README.md) explains how to select a **process**, and the **statuses** and **fields** of a process.
Times are in seconds.
"""


def told(documented: Any) -> str:
    """Return a docstring as Markdown."""
    text = inspect.getdoc(documented) or ""
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    text = re.sub(r":\w+:`~?(.+?)`", r"`\1`", text)
    # Markdown would show indented prose as a code block.
    prose = r"(?<=^Returns:\n)(?:    .+\n?)+|(?<=^Yields:\n)(?:    .+\n?)+"
    text = re.sub(prose, lambda found: textwrap.dedent(found[0]), text, flags=re.MULTILINE)
    text = re.sub(r"^    ([\w., ]+):", r"- `\1`:", text, flags=re.MULTILINE)
    return re.sub(r"^(\w[\w ]*):$", r"**\1**\n", text, flags=re.MULTILINE)


class _Bare(str):
    """Text that ``repr`` shows without quotes, for annotations and defaults."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def call(function: Callable[..., Any], name: str) -> str:
    """Return the source of a call of a function, with one argument per line if it is long."""
    signature = inspect.signature(function)
    returns = signature.return_annotation
    awaited = re.fullmatch(r"Coroutine\[object, object, (.+)\]", str(returns))
    if awaited or inspect.iscoroutinefunction(function):
        name, returns = f"await {name}", awaited[1] if awaited else returns
    elif inspect.isgeneratorfunction(inspect.unwrap(function)):  # a context manager
        name, returns = f"with {name}", None
    given = [
        value.replace(
            annotation=_Bare(value.annotation),
            default=_Bare("{}") if str(value.default) == "<factory>" else value.default,
        )
        for value in signature.parameters.values()
        if value.name != "self"
    ]
    arrow = "" if returns in (inspect.Signature.empty, "None", None) else f" -> {returns}"
    short = f"{name}{signature.replace(parameters=given, return_annotation=inspect.Signature.empty)}{arrow}"
    if len(short) <= WIDTH:
        return short
    lines, keyword_only = [], False
    for value in given:
        if value.kind is value.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            if not any(other.kind is other.VAR_POSITIONAL for other in given):
                lines.append("*,")
        lines.append(f"{value},")
    return "\n".join([f"{name}(", *(f"    {line}" for line in lines), f"){arrow}"])


def methods(kind: type, *only: str) -> Iterator[str]:
    """Yield the text about each public method of a class and its bases, in source order."""
    seen: set[str] = set()
    for each in kind.__mro__[:-1]:
        for name, member in vars(each).items():
            if name.startswith("_") or name in seen or (only and name not in only):
                continue
            if not each.__module__.startswith("pytest_tls"):
                continue
            seen.add(name)
            if isinstance(member, (property, cached_property)):
                yield f"#### `{name}`\n\n{told(member)}\n"
            elif inspect.isfunction(member):
                yield called(member, name)


def called(documented: Callable[..., Any], name: str, level: int = 4) -> str:
    """Return the text about a function, or about a class that users create."""
    title = f"{'#' * level} `{name}`"
    return f"{title}\n\n```python\n{call(documented, name)}\n```\n\n{told(documented)}\n"


def awaitable() -> str:
    """Return the list of the methods that ``AsyncSandbox`` shares with ``Sandbox``."""
    own = ("baseline", "from_now", "soft")
    names = [name for name in vars(AsyncSandbox) if hasattr(Sandbox, name) and name not in own]
    listed = ", ".join(f"`{name}`" for name in names if not name.startswith("_"))
    return f"Await these methods, which are the same as in [Sandbox](#sandbox): {listed}.\n"


def section(kind: type, *parts: str) -> list[str]:
    """Return the section about a class: its docstring, followed by other parts."""
    return [f"## {kind.__name__}\n", told(kind) + "\n", *parts]


def fields(model: type) -> str:
    """Return the list of the fields of a model, with their types."""
    hints = get_type_hints(model)
    names = [
        name for name in inspect.get_annotations(model) if not name.startswith(("_", "model_"))
    ]
    listed = "\n".join(f"{name}: {_type(hints[name])}" for name in names)
    return f"```python\n{listed}\n```\n"


def _type(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(json.dumps(word) for word in get_args(hint))
    parts = [_type(part) for part in get_args(hint)]
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(parts)
    name = "None" if hint is type(None) else hint.__name__
    return f"{name}[{', '.join(parts)}]" if parts else str(name)


def fixtures() -> Iterator[str]:
    """Yield the text about each fixture, including its scope."""
    for name, fixture in vars(plugin).items():
        if name.startswith("tlsandbox"):
            scope = fixture._fixture_function_marker.scope  # noqa: SLF001
            yield f"#### `{name}`\n\nScope: {'test' if scope == 'function' else scope}. {told(fixture)}\n"


def options() -> Iterator[str]:
    """Yield the lines of the table of options, with their ini keys and environment variables."""
    yield "| option | ini key | environment | |\n|---|---|---|---|"
    for option in settings.OPTIONS:
        flag = f"{option.flag} {option.metavar or ''}".strip()
        variable = f"`{option.environment}`" if option.environment else ""
        text = option.help.replace("<", "&lt;")
        yield f"| `{flag}` | `{option.ini}` | {variable} | {text} |"
    yield f"| | `{settings.MASK_INI}` | | {settings.MASK_HELP} |"
    yield f"| | | `{settings.API_KEY_VARIABLE}` | The API key of a real sandbox, unless the hook below returns it. |"


def page() -> str:
    """Return the page."""
    tree = "".join(re.findall(r"^    .+\n", errors.__doc__ or "", re.MULTILINE))
    parts = [
        HEAD,
        "## Fixtures\n",
        *fixtures(),
        *section(Sandbox, *methods(Sandbox)),
        "## AsyncSandbox\n",
        f"```python\n{call(AsyncSandbox, 'AsyncSandbox')}\n```\n",
        told(AsyncSandbox) + "\n",
        awaitable(),
        *methods(AsyncSandbox, "from_now", "soft"),
        *section(Soft),
        *section(ProcessSnapshot, *methods(ProcessSnapshot)),
        *section(ProcessInfo, fields(ProcessInfo), *methods(ProcessInfo)),
        *section(CompletedProcess),
        *section(Fields),
        *section(ManagedProcess, fields(ManagedProcess)),
        *section(start_options.StartOptions, fields(start_options.StartOptions)),
        *section(start_options.RestartOptions, fields(start_options.RestartOptions)),
        *section(start_options.HealthCheckOptions, fields(start_options.HealthCheckOptions)),
        *section(ProcessLister, *methods(ProcessLister, "list", "label")),
        "## Functions\n",
        called(by, "by"),
        called(start_local_sandbox, "start_local_sandbox"),
        *section(LocalSandbox),
        *section(pytest_tlsandbox.Secret),
        "## Testing\n",
        "The names of `pytest_tlsandbox.testing`, for tests of your own helpers; see [testing](testing.md).\n",
        *(called(getattr(testing, name), name, level=3) for name in testing.__all__),
        "## Errors\n",
        f"```text\n{textwrap.dedent(tree).strip()}\n```\n",
        told(errors.TLSandboxError) + "\n",
        *(f"**`{name}`**: {told(getattr(errors, name))}\n" for name in WITH_DATA),
        "## Options\n",
        "\n".join(options()) + "\n",
        "## Markers\n",
        "\n".join(f"- `{text.replace('): ', ')`: ', 1)}" for text in settings.MARKERS) + "\n",
        "## Hook\n",
        "#### `pytest_tlsandbox_api_key(config, target)`\n",
        told(plugin.Hooks.pytest_tlsandbox_api_key),
    ]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    write_or_check(PAGE, "make reference", page)
