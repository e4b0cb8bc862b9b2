"""Wait for, assert on and gate CI on the processes of a Tensorlake sandbox, from pytest.

The plugin provides the fixtures. ``__all__`` lists the names that can be imported.

PYTEST_DONT_REWRITE: no test asserts in this module, and it may be imported before pytest starts.
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
    """Register the submodule ``plugin`` once, however this package was loaded.

    pytest may load this package by autoload, ``-p``, ``PYTEST_PLUGINS`` or a conftest. A variable
    ``pytest_plugins`` in this module would make pytest search all installed packages for a plugin
    of that name, which would add 2 ms to each start.
    """
    _skip_assertion_rewriting(pluginmanager)
    plugin = importlib.import_module("pytest_tlsandbox.plugin")
    if not pluginmanager.is_registered(plugin):
        pluginmanager.register(plugin, plugin.__name__)


def _skip_assertion_rewriting(pluginmanager: pytest.PytestPluginManager) -> None:
    """Exclude our submodules from pytest's assertion rewriting, because they contain no test.

    pytest compiles rewritten modules again in each new environment, and loads them more slowly. The
    exclusion reduces the processor time of a run that uses a fixture from 577 ms to 516 ms, and
    from 680 ms to 553 ms in a new environment (medians of 31 and 15 interleaved runs). A run that
    uses no fixture takes as long as before. pytest has no public way to exclude modules. If the
    private attribute disappears, only the saved time is lost.
    """
    getattr(pluginmanager.rewrite_hook, "_must_rewrite", set()).discard(__name__)


_MODULES = {
    "AsyncSandbox": "async_sandbox",
    "HealthCheckOptions": "arguments.start_options",
    "ProcessInfo": "models",
    "ProcessLister": "client.api",
    "ProcessSnapshot": "history.snapshot",
    "RestartOptions": "arguments.start_options",
    "Sandbox": "sandbox",
    "Secret": "redact",
    "by": "waiting.selectors",
    "start_local_sandbox": "local.sandbox",
}

if TYPE_CHECKING:
    import pytest

    from pytest_tlsandbox.arguments.start_options import HealthCheckOptions, RestartOptions
    from pytest_tlsandbox.async_sandbox import AsyncSandbox
    from pytest_tlsandbox.client.api import ProcessLister
    from pytest_tlsandbox.errors import *
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.local.sandbox import start_local_sandbox
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.redact import Secret
    from pytest_tlsandbox.sandbox import Sandbox
    from pytest_tlsandbox.waiting.selectors import by


def __getattr__(name: str) -> object:
    """Import a name when it is first used, to keep the start of suites without a sandbox fast.

    The module deliberately does not define ``__dir__``, because pytest searches the listed names
    for fixtures, and would import all of them.

    Args:
        name: the name of the attribute.

    Returns:
        The class or the function.

    Raises:
        AttributeError: the name is not in ``__all__``.

    """
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, 'errors')}")
    return getattr(module, name)
