"""Wait for, assert on and gate CI on the processes of a Tensorlake sandbox, from pytest.

The fixtures come with the plugin; what can be imported is listed in ``__all__``.

PYTEST_DONT_REWRITE: no assertion of a test is in here, and it may be imported before pytest starts.
"""

# ruff: noqa: F403, F405 - the errors are in __all__ below; naming each again would add nothing
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
    "TLSandboxError",
    "UnexpectedExit",
    "WaitTimedOut",
    "__version__",
    "by",
    "start_local_sandbox",
]


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Bring in the hooks, which are in a submodule: loaded once by every route there is.

    Those are autoload, -p, PYTEST_PLUGINS and a conftest. With ``pytest_plugins`` in place of this,
    pytest would look through all that is installed for a plugin of that name, 2 ms of each start.
    """
    _spare_rewriting(pluginmanager)
    plugin = importlib.import_module("pytest_tlsandbox.plugin")
    if not pluginmanager.is_registered(plugin):
        pluginmanager.register(plugin, plugin.__name__)


def _spare_rewriting(pluginmanager: pytest.PytestPluginManager) -> None:
    """Have our submodules imported as any others are: they hold no assertion of a test.

    pytest rewrites those of a plugin, which it compiles anew in each new environment, 90 ms of a
    first use, and then reads ten times slower. There is no public way to say so: should the
    attribute go, that is what comes back.
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
    """Import a name when it is first asked for: a suite that uses no sandbox pays for none of it.

    There is no ``__dir__`` beside it: pytest looks through that for fixtures, and would import all.
    """
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, 'errors')}")
    return getattr(module, name)
