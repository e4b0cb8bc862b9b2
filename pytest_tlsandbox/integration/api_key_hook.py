"""Makes a Secret of what the hook ``pytest_tlsandbox_api_key`` returns, before anything logs it.

A plugin, registered when the first sandbox is connected: wrappers that are registered last are the
outermost. pluggy's trace (``pytest --debug``, ``PYTEST_DEBUG``) logs what the outermost returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tlsandbox.errors import InvalidSetting
from pytest_tlsandbox.redact import Secret

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_tlsandbox_api_key() -> Generator[None, object, Secret | InvalidSetting | None]:
    """Return the key as a Secret, or the error that rejects any other value, such as a plain text.

    The error is not raised here: with ``--full-trace --showlocals``, its traceback would show the
    rejected value in a frame of pluggy.
    """
    given = yield
    if callable(given):
        given = given()
        if isinstance(given, str):
            return Secret(given)
    if given is None or isinstance(given, Secret):
        return given
    return InvalidSetting(
        "hook pytest_tlsandbox_api_key must return a Secret, or a function without arguments that "
        f"returns the key, got a value of type {type(given).__name__}; write `return Secret(key)` "
        "after `from pytest_tlsandbox import Secret`"
    )
