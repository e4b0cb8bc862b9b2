"""Test the processes of a Tensorlake sandbox with pytest.

The plugin provides the fixtures. ``__all__`` lists the names that can be imported.

The word PYTEST_DONT_REWRITE turns off assertion rewriting for this module, because the module
contains no tests and may be imported before pytest starts.
"""

# ruff: noqa: F403, F405 - __all__ below already lists the names of the errors
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "AmbiguousProcess",
    "AssertionFailed",
    "AsyncSandbox",
    "AuthenticationFailed",
    "ChecksFailed",
    "CompletedProcess",
    "ContractViolation",
    "GuardFailure",
    "HealthCheckOptions",
    "Inconclusive",
    "InfrastructureError",
    "InvalidArgument",
    "InvalidSetting",
    "LocalSandboxError",
    "ProcessCrashed",
    "ProcessInfo",
    "ProcessLister",
    "ProcessNotFound",
    "ProcessOOMKilled",
    "ProcessRestarted",
    "ProcessSnapshot",
    "ProcessUnhealthy",
    "RequestRefused",
    "RestartOptions",
    "Sandbox",
    "SandboxNotFound",
    "SandboxNotRunning",
    "SandboxReplaced",
    "SandboxUnreachable",
    "Secret",
    "SuspectedOOMKill",
    "TLSandboxError",
    "UnexpectedExit",
    "WaitTimedOut",
    "__version__",
    "by",
    "start_local_sandbox",
]


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the submodule ``plugin`` once, no matter how this package was loaded.

    pytest may load this package by autoload, ``-p``, ``PYTEST_PLUGINS`` or a conftest. A variable
    ``pytest_plugins`` in this module would make pytest search all installed packages for a plugin
    of that name, which would add 2 ms to each start.
    """
    # Exclude the submodules from assertion rewriting by pytest, because they contain no tests.
    # pytest compiles rewritten modules again in each new environment, and loads them more slowly
    # than other modules. In a run that uses a fixture, the exclusion reduces the processor time
    # from 577 ms to 516 ms (median of 31 interleaved runs), and in a new environment from 680 ms to
    # 553 ms (median of 15). It does not affect runs that use no fixture. The attribute is private,
    # because pytest does not provide a public way to exclude modules. If a later version of pytest
    # removes the attribute, the plugin still works, but starts more slowly.
    getattr(pluginmanager.rewrite_hook, "_must_rewrite", set()).discard(__name__)
    plugin = importlib.import_module("pytest_tlsandbox.plugin")
    if not pluginmanager.is_registered(plugin):
        pluginmanager.register(plugin, plugin.__name__)


_MODULES = {
    "AsyncSandbox": "async_sandbox",
    "CompletedProcess": "models",
    "HealthCheckOptions": "arguments",
    "ProcessInfo": "models",
    "ProcessLister": "client.api",
    "ProcessSnapshot": "history.snapshot",
    "RestartOptions": "arguments",
    "Sandbox": "sandbox",
    "Secret": "redact",
    "by": "waiting.selectors",
    "start_local_sandbox": "local.sandbox",
}

if TYPE_CHECKING:
    import pytest

    from pytest_tlsandbox.arguments import HealthCheckOptions, RestartOptions
    from pytest_tlsandbox.async_sandbox import AsyncSandbox
    from pytest_tlsandbox.client.api import ProcessLister
    from pytest_tlsandbox.errors import *
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.local.sandbox import start_local_sandbox
    from pytest_tlsandbox.models import CompletedProcess, ProcessInfo
    from pytest_tlsandbox.redact import Secret
    from pytest_tlsandbox.sandbox import Sandbox
    from pytest_tlsandbox.waiting.selectors import by


def __getattr__(name: str) -> object:
    """Import a name when it is first used, so that suites without a sandbox start fast.

    This module must not define ``__dir__``. Otherwise, pytest's search for fixtures would
    import every name that ``__dir__`` lists.

    Args:
        name: the name of the attribute.

    Returns:
        The class or the function.

    Raises:
        AttributeError: the name is not in ``__all__``.

    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, 'errors')}")
    return getattr(module, name)
