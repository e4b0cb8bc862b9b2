"""Convert the result of ``pytest_tlsandbox_api_key`` to a Secret before pluggy logs the result.

This module is a pytest plugin. The trace of pluggy (``pytest --debug``, ``PYTEST_DEBUG``) logs the
value that the outermost wrapper of a hook returns. The wrapper that is registered last becomes the
outermost wrapper. For this reason, this plugin is registered late, when the first sandbox is
connected.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from pytest_tlsandbox.errors import InvalidSetting
from pytest_tlsandbox.redact import Secret


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_tlsandbox_api_key() -> Generator[None, object, Secret | InvalidSetting | None]:
    """Return the key as a Secret, or None if there is no key.

    If the hook returned an invalid value, the result is an error. This function does not raise the
    error, because the traceback would then contain a frame of pluggy. With the options
    ``--full-trace --showlocals``, pytest would show the invalid value in this frame.
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
