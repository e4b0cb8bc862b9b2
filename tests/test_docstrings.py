"""Docstrings of public names are complete, and the notes contain the sections that the code cites.

ruff compares the sections of a docstring with the code, but accepts a docstring without sections.
These tests require them for each name that users import.
"""

import inspect
import re
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import pytest_tlsandbox
from pytest_tlsandbox import models, plugin, testing
from pytest_tlsandbox.async_sandbox import AsyncSoft
from pytest_tlsandbox.history.snapshot import Fields
from pytest_tlsandbox.local.sandbox import LocalSandbox
from pytest_tlsandbox.soft_checks import Soft

ROOT = Path(__file__).parent.parent
IMPORTED = [
    *(getattr(pytest_tlsandbox, name) for name in pytest_tlsandbox.__all__ if name[0] != "_"),
    *(getattr(testing, name) for name in testing.__all__),
]
RETURNED = [
    *(AsyncSoft, Fields, LocalSandbox, Soft, plugin.Hooks),
    *(models.LastExit, models.ManagedProcess, models.RestartPolicy, models.UnreadableRow),
]
"""Classes whose objects users get, but do not create."""


def methods_of(kind):
    """Return the public methods of a class, and of its bases in this package."""
    return {
        f"{kind.__name__}.{name}": method
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if name[0] != "_" and method.__module__.startswith("pytest_tlsandbox")
    }


PUBLIC = {each.__name__: each for each in [*IMPORTED, *RETURNED]}
CLASSES = {name: each for name, each in PUBLIC.items() if inspect.isclass(each)}
CALLS = {name: each for name, each in PUBLIC.items() if inspect.isfunction(each)}
CALLS |= {name: each for kind in CLASSES.values() for name, each in methods_of(kind).items()}


def described(text, *sections):
    """Return the names that the sections of a docstring describe."""
    parts = re.split(r"^(\w+):$", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    bodies = (found.get(section, "") for section in sections)
    return [name for body in bodies for name in re.findall(r"^    (\w+):", body, re.MULTILINE)]


def arguments_of(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize("name", CALLS)
def test_docstring_of_a_public_call_describes_each_argument_and_the_result(name):
    text = inspect.getdoc(CALLS[name])
    result = inspect.signature(CALLS[name]).return_annotation

    assert described(text, "Args") == arguments_of(CALLS[name])
    assert result in ("None", "Iterator[None]") or re.search(
        r"^Return |^(Returns|Yields):$", text, re.MULTILINE
    )


@pytest.mark.parametrize("name", CLASSES)
def test_docstring_of_a_public_class_describes_each_argument_and_attribute(name):
    kind = CLASSES[name]
    text = inspect.getdoc(kind)
    attributes = {each for each in inspect.get_annotations(kind) if each[0] != "_"}
    if "__init__" in vars(kind) and not is_dataclass(kind):
        source = inspect.getsource(kind.__init__)
        attributes |= set(re.findall(r"^ +self\.([a-z]\w*)(?:: .+)? = ", source, re.MULTILINE))
        if kind in IMPORTED and not issubclass(kind, Exception):
            assert described(text, "Args") == arguments_of(kind.__init__)

    assert attributes <= set(described(text, "Args", "Attributes"))


def citing(line):
    return re.findall(r'api-notes, ((?:(?: and )?"[^"]+")+)', line)


CITATIONS = [
    (path.relative_to(ROOT).as_posix(), section)
    for folder in ("pytest_tlsandbox", "tests", "tools", "benchmarks", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
    for cited in citing(re.sub(r"\s+(?:# )?", " ", path.read_text(encoding="utf-8")))
    for section in re.findall(r'"([^"]+)"', cited)
]


@pytest.mark.parametrize(("path", "section"), CITATIONS)
def test_modules_cite_only_existing_sections_of_the_api_notes(path, section):
    notes = (ROOT / "docs/contributing/api-notes.md").read_text(encoding="utf-8")

    assert re.search(rf"^##+ {re.escape(section)}$", notes, re.MULTILINE), path
