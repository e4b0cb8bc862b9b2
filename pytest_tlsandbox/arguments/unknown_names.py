"""Errors that suggest the most similar name for a misspelt helper or keyword."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pytest_tlsandbox.arguments.checks import suggestion
from pytest_tlsandbox.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Any]")

__tracebackhide__ = True  # pytest ends the traceback of an AttributeError at the user's line

_OTHER_WORDS = {"cwd": "working_dir"}
"""Maps arguments of ``subprocess`` to arguments of this plugin with the same meaning."""


def explain_misuse(kind: type[T]) -> type[T]:
    """Decorate a class, so that errors for misspelt methods and arguments suggest the right name.

    This function sets ``__getattr__`` at runtime. If the class itself defined ``__getattr__``, type
    checkers would accept any attribute.

    Args:
        kind: the class.

    Returns:
        The same class.

    """
    for name, member in [*vars(kind).items()]:
        if inspect.isfunction(member) and not name.startswith("_"):
            setattr(kind, name, explained(member))
    setattr(kind, "__getattr__", _refuse_attribute)  # noqa: B010
    return kind


def explained(function: F) -> F:
    """Decorate a function so that a wrong call raises InvalidArgument and suggests the right name."""
    if inspect.iscoroutinefunction(function):  # because it calls a function that is decorated
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            signature = inspect.signature(function)
            try:
                signature.bind(*args, **kwargs)
            except TypeError:
                text = _unknown_argument(function.__name__, signature, kwargs) or str(error)
                raise InvalidArgument(text) from None
            raise

    return call  # type: ignore[return-value]


def _unknown_argument(
    name: str, signature: inspect.Signature, keywords: Iterable[str]
) -> str | None:
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return None
    known = [each.name for each in parameters if each.kind is not each.VAR_POSITIONAL]
    for word in keywords:
        if word not in known:
            hint = suggestion(_OTHER_WORDS.get(word, word), known)
            if known and not hint:
                hint = f"; expected one of {', '.join(known)}"
            return f"{name}() has no argument {word!r}{hint}"
    return None


def _refuse_attribute(self: object, name: str) -> NoReturn:
    public = [each for each in dir(self) if not each.startswith("_")]
    hint = "" if name.startswith("_") else suggestion(name, public, cutoff=0.76)
    text = f"{type(self).__name__!r} object has no attribute {name!r}{hint}"
    raise AttributeError(text, name=name)  # without the name, Python would add its own suggestion
