"""The functions that use private names of pytest, and the reason for each use.

The tests ``test_fixtures.py``, ``test_targets.py`` and ``test_tracebacks.py`` in ``tests/plugin``
fail if pytest changes one of the private names. One more function that uses a private name is in
the package's ``__init__`` module, because this function must run before any submodule is imported.
"""

from __future__ import annotations

from typing import Any

import pytest

PLUGIN = "pytest_tlsandbox.plugin"
TARGET = "tlsandbox_target"
"""The fixture that a suite overrides to choose its sandbox."""


def configure(config: pytest.Config) -> None:
    """Call the hooks ``pytest_configure``, as ``pytest --help`` does, without starting a session.

    Raises:
        pytest.UsageError: a setting is invalid.

    """
    config._do_configure()  # noqa: SLF001


def overrides_target(item: pytest.Item) -> bool:
    """Return whether the suite overrides ``tlsandbox_target`` for this test.

    This function uses private names, because the public functions find only the fixtures that the
    running test requests.
    """
    definitions = item.session._fixturemanager.getfixturedefs(TARGET, item)  # noqa: SLF001
    module = definitions[-1].func.__module__ if definitions else PLUGIN
    return module != PLUGIN


def unrequested_fixtures(item: pytest.Item) -> list[str]:
    """Return the names of the fixtures that a test uses, but does not request as arguments.

    A test uses such fixtures through ``autouse`` or ``usefixtures``. The result does not include
    fixtures with the scope "function". ``Item.fixturenames`` does not distinguish unrequested
    fixtures from other fixtures.
    """
    info: Any = item._fixtureinfo  # type: ignore[attr-defined]  # noqa: SLF001
    names = set(info.initialnames) - set(info.argnames)
    return [name for name in names if info.name2fixturedefs[name][-1].scope != "function"]


def errors_of_test_case(item: pytest.Item) -> list[pytest.ExceptionInfo[BaseException]] | None:
    """Return the errors that a ``unittest`` test raised, even if pytest has not reported them yet.

    ``CallInfo.excinfo`` contains an error of a ``unittest`` test only after pytest's own hook has
    reported the error.
    """
    return getattr(item, "_excinfo", None)
