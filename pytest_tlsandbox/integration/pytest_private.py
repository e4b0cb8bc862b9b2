"""The private names of pytest that this plugin uses, each with its reason.

``tests/integration/test_pytest_private.py`` fails if pytest changes one. One more is in ``__init__``: it
must act before any submodule is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest


PLUGIN = "pytest_tlsandbox.plugin"
TARGET = "tlsandbox_target"
"""The fixture that a suite overrides to name its sandbox."""


def defining_module(item: pytest.Item, fixture: str) -> str | None:
    """Return the module that defines a fixture as a test sees it; None if there is none.

    The public functions show a fixture only while a test requests it.
    """
    definitions = item.session._fixturemanager.getfixturedefs(fixture, item)  # noqa: SLF001
    module: str | None = definitions[-1].func.__module__ if definitions else None
    return module


def overrides_target(item: pytest.Item) -> bool:
    """Return whether the suite overrides ``tlsandbox_target`` for this test."""
    return defining_module(item, TARGET) not in (None, PLUGIN)


def unrequested_fixtures(item: pytest.Item) -> list[str]:
    """Return the fixtures of wider scope that a test gets without an argument: autouse, usefixtures.

    ``Item.fixturenames`` does not say which ones they are.
    """
    info: Any = item._fixtureinfo  # type: ignore[attr-defined]  # noqa: SLF001
    names = set(info.initialnames) - set(info.argnames)
    return [name for name in names if info.name2fixturedefs[name][-1].scope != "function"]


def errors_of_test_case(item: pytest.Item) -> list[pytest.ExceptionInfo[BaseException]] | None:
    """Return what a ``unittest`` test raised, for the hook of pytest that reports it.

    ``CallInfo.excinfo`` has it only after that hook.
    """
    return getattr(item, "_excinfo", None)


def find_settings(paths: Sequence[str], config: pytest.Config) -> tuple[Path, Path | None]:
    """Return the rootdir and the ini file that pytest finds for the paths of tests.

    The public attributes show only the result for the whole command line.
    """
    import inspect

    from _pytest.config.findpaths import determine_setup

    given = {
        "inifile": config.option.inifilename,
        "override_ini": None,
        "args": paths,
        "rootdir_cmd_arg": config.option.rootdir or None,
        "invocation_dir": config.invocation_params.dir,
    }
    # pytest 9 has one parameter more than pytest 8.
    known = inspect.signature(determine_setup).parameters
    rootdir, inipath, *_ = determine_setup(**{name: given[name] for name in known})
    return rootdir, inipath
