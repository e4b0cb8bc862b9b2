"""Docstrings of public names are complete.

ruff compares the sections of a docstring with the code, but accepts a docstring without sections.
These tests require them for each name that users import.
"""

import inspect
import re
from dataclasses import is_dataclass

import pytest

import pytest_tlsandbox
from pytest_tlsandbox import models, plugin, testing
from pytest_tlsandbox.async_sandbox import AsyncSoft
from pytest_tlsandbox.history.snapshot import Fields
from pytest_tlsandbox.local.sandbox import LocalSandbox
from pytest_tlsandbox.soft_checks import Soft

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


@pytest.mark.parametrize("name", CALLS)
def test_docstring_of_a_public_call_describes_each_argument_and_the_result(name):
    text = inspect.getdoc(CALLS[name])
    signature = inspect.signature(CALLS[name])
    result = re.search(r"^Return |^(Returns|Yields):$", text, re.MULTILINE)

    assert described(text, "Args") == [name for name in signature.parameters if name != "self"]
    assert result or signature.return_annotation in ("None", "Iterator[None]")


@pytest.mark.parametrize("name", CLASSES)
def test_docstring_of_a_public_class_describes_each_argument_and_attribute(name):
    kind = CLASSES[name]
    text = inspect.getdoc(kind)
    attributes = {each for each in inspect.get_annotations(kind) if each[0] != "_"}
    if "__init__" in vars(kind) and not is_dataclass(kind):
        source = inspect.getsource(kind.__init__)
        attributes |= set(re.findall(r"^ +self\.([a-z]\w*)(?:: .+)? = ", source, re.MULTILINE))
        if kind in IMPORTED and not issubclass(kind, Exception):
            assert described(text, "Args") == [*inspect.signature(kind).parameters]

    assert attributes <= set(described(text, "Args", "Attributes"))
