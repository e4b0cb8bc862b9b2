"""Hooks and fixtures. The first use of a fixture imports requests, pydantic and tenacity."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_tlsandbox import settings as setup
from pytest_tlsandbox.clock import Clock

if TYPE_CHECKING:
    from pytest_tlsandbox.async_sandbox import AsyncSandbox
    from pytest_tlsandbox.client.api import ProcessLister
    from pytest_tlsandbox.connections import Connections
    from pytest_tlsandbox.local.sandbox import LocalSandbox
    from pytest_tlsandbox.monitoring.plugin import MonitorPlugin
    from pytest_tlsandbox.redact import Secret
    from pytest_tlsandbox.sandbox import Sandbox

_SETTINGS: pytest.StashKey[setup.Settings] = pytest.StashKey()
_CONNECTIONS: pytest.StashKey[Connections] = pytest.StashKey()
_TEST_DEADLINE: pytest.StashKey[float | None] = pytest.StashKey()
_REGISTERING = threading.Lock()
"""Held while plugins are registered for a report, because xdist receives the reports of each worker
in a separate thread."""


def __tracebackhide__(raised: pytest.ExceptionInfo[BaseException]) -> bool:  # noqa: N807 - pytest's name
    """Hide the plugin's frames when a fixture raises one of the plugin's errors."""
    from pytest_tlsandbox.errors import TLSandboxError

    return raised.errisinstance(TLSandboxError)


class Hooks:
    """The hooks that a conftest can implement."""

    @pytest.hookspec(firstresult=True)
    def pytest_tlsandbox_api_key(
        self, config: pytest.Config, target: object
    ) -> Secret | Callable[[], str | Secret] | None:
        """Return the API key for a sandbox, for example from a vault.

        If every implementation returns None, the plugin uses the environment variable
        ``TENSORLAKE_API_KEY``.

        Args:
            config: the configuration of pytest.
            target: the sandbox: the value of ``--tlsandbox``, the value of ``tlsandbox_target``, or
                the argument of ``tlsandbox_connect``.

        Returns:
            ``Secret(key)``, or a function without arguments that returns the key. If the result is
            None, another implementation of the hook can provide the key.

        """


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the hooks that a conftest can implement."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register each setting as an option and as an ini key."""
    about = "processes in a Tensorlake sandbox (the environment variable TENSORLAKE_API_KEY sets the API key)"
    group = parser.getgroup("tlsandbox", about)
    for key, option in setup.OPTIONS.items():
        environment = f" [environment: {option.environment}]" if option.environment else ""
        keywords: dict[str, Any] = {"action": "store", "metavar": option.metavar}
        in_file: Literal["string", "linelist", "bool"] = "string"
        if option.metavar is None:
            keywords, in_file = {"action": "store_true"}, "bool"
        elif option.repeatable:
            keywords["action"], in_file = "append", "linelist"
        # The default is None, so that the ini file applies if the option was not given.
        keywords.update(dest=key, default=None, help=option.help + environment)
        group.addoption(setup.flag_of(key), **keywords)
        parser.addini(key, option.help, in_file)
    parser.addini(setup.MASK_INI, setup.MASK_HELP, "linelist")
    group.addoption("--tlsandbox-doctor", action="store_true", help=setup.DOCTOR_HELP)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """If ``--tlsandbox-doctor`` was given, print its page instead of running tests."""
    if not config.getoption("tlsandbox_doctor"):
        return None
    from pytest_tlsandbox.doctor import examine

    return examine(config, _connections)


def pytest_configure(config: pytest.Config) -> None:
    """Check every setting before the first test.

    Start the report if the settings request a report. Start the guard if the settings request the
    guard.

    Raises:
        pytest.UsageError: a setting is invalid.

    """
    settings = setup.Settings()
    if given := setup.read(config):
        from pytest_tlsandbox import setting_parsers
        from pytest_tlsandbox.errors import InvalidSetting

        try:
            settings = setting_parsers.check(given, config)
        except InvalidSetting as error:
            raise pytest.UsageError(str(error)) from None
    config.stash[_SETTINGS] = settings
    if settings.masks:
        from pytest_tlsandbox.redact import set_masks

        set_masks(settings.masks)
        config.add_cleanup(lambda: set_masks(()))
    for marker in setup.MARKERS:
        config.addinivalue_line("markers", marker)
    if settings.report:
        _start_report(config)
    if settings.guard:
        _start_guard(config)


def _start_report(config: pytest.Config) -> None:
    """Register the recorder, and also the report writer if this process reports the results."""
    from pytest_tlsandbox.report.plugin import ReportPlugin
    from pytest_tlsandbox.report.recorder import Recorder

    shared = _start_monitor(config)
    shared.monitor.observers.append(Recorder(shared.monitor))
    if shared.session is not None:
        report = ReportPlugin(config, config.stash[_SETTINGS], shared.session)
        config.pluginmanager.register(report, "tlsandbox-report")


def _start_guard(config: pytest.Config) -> None:
    """Register the guard, and also its summary if this process reports the results."""
    if config.pluginmanager.has_plugin("tlsandbox-guard"):
        return
    from pytest_tlsandbox.guard.plugin import Guard
    from pytest_tlsandbox.guard.summary import GuardSummary

    settings, shared = config.stash[_SETTINGS], _start_monitor(config)
    guard = Guard(settings, shared.monitor, lambda: _connections(config).screen)
    config.pluginmanager.register(guard, "tlsandbox-guard")
    if shared.session is not None:
        summary = GuardSummary(settings, shared.session)
        config.pluginmanager.register(summary, "tlsandbox-guard-summary")


def _start_monitor(config: pytest.Config) -> MonitorPlugin:
    """Register the monitor that the guard and the report share, and return its plugin."""
    plugin: MonitorPlugin | None = config.pluginmanager.get_plugin("tlsandbox-monitor")
    if plugin is None:
        from pytest_tlsandbox.monitoring.plugin import MonitorPlugin

        plugin = MonitorPlugin(config, config.stash[_SETTINGS], lambda: _connections(config))
        config.pluginmanager.register(plugin, "tlsandbox-monitor")
        if plugin.session is not None:
            config.pluginmanager.register(plugin.session, "tlsandbox-session")
    return plugin


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Check the markers of all tests, and check that guarded tests have a sandbox."""
    config, settings = session.config, session.config.stash[_SETTINGS]
    marks = (item.get_closest_marker(name) for item in session.items for name in setup.MARKER_NAMES)
    if not settings.guard and not any(marks):
        return
    from pytest_tlsandbox.errors import InvalidSetting
    from pytest_tlsandbox.guard.markers import check_markers

    try:
        if check_markers(session, settings):
            _start_guard(config)
    except InvalidSetting as error:
        if not hasattr(config, "workerinput"):
            raise pytest.UsageError(str(error)) from None
        # xdist would report an error in a worker as a crash, so end the session with the message.
        session.items.clear()
        session.shouldstop = str(error)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Remove the output that an earlier session kept, if this session will run tests."""
    folder = session.config.stash[_SETTINGS].output
    in_worker = hasattr(session.config, "workerinput")
    if folder and not in_worker and not session.config.getoption("collectonly"):
        from pytest_tlsandbox.report.output_files import remove_old_files

        remove_old_files(folder)


@pytest.hookimpl(tryfirst=True)
def pytest_report_from_serializable(config: pytest.Config, data: dict[str, Any]) -> None:
    """Start the plugins that a test report from an xdist worker requires.

    pytest calls this hook on the xdist controller. A report may require the guard, the summary of
    causes shared by several failed tests, or both.
    """
    facts = data.get(setup.FACTS, ())
    with _REGISTERING:
        if "guard" in facts:
            _start_guard(config)
        if "same_cause" in facts:
            from pytest_tlsandbox.failed_tests.same_cause import SameCauseSummary

            SameCauseSummary.register(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Return a line with the sandboxes under test, and a line with the rules of the guard.

    If there are no sandboxes, the first line is left out. If there are no rules, the second line is
    left out.
    """
    settings = config.stash[_SETTINGS]
    lines = [f"tlsandbox: {', '.join(settings.targets)}"] if settings.targets else []
    if settings.guard:
        only = ", report only" if settings.guard_report_only else ""
        lines.append(f"tlsandbox guard: {', '.join(settings.guard)}{only}")
    return lines


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test once on every given sandbox.

    This hook has no effect on a test if the suite itself chooses the sandbox of the test.
    """
    name = "tlsandbox_target"
    targets = metafunc.config.stash[_SETTINGS].targets
    if len(targets) < 2 or name not in metafunc.fixturenames:
        return
    for mark in metafunc.definition.iter_markers("parametrize"):
        names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
        if name in (names.replace(",", " ").split() if isinstance(names, str) else names):
            return
    from pytest_tlsandbox.integration.pytest_private import overrides_target

    if not overrides_target(metafunc.definition):
        metafunc.parametrize(name, targets, indirect=True, scope="session")


_CONNECTING = frozenset({"tlsandbox", "tlsandbox_connect", "tlsandbox_lister"})
"""The fixtures that connect to a sandbox; all other fixtures of the plugin request one of them."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Set up ``tlsandbox`` first, so that the test owns the processes that other fixtures start.

    There is one exception. If a test uses a fixture only through ``autouse`` or ``usefixtures``,
    and the scope of the fixture is wider than "function", this fixture is set up before
    ``tlsandbox``. Such a fixture may provide the key or the sandbox.
    """
    names = getattr(item, "fixturenames", [])
    if not _CONNECTING.isdisjoint(names):
        _connections(item.config)
    if "tlsandbox" not in names:
        return
    from pytest_tlsandbox.integration.pytest_private import unrequested_fixtures

    unrequested = unrequested_fixtures(item)
    names.sort(key=lambda name: (name not in unrequested, name != "tlsandbox"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """End the traceback at the user's code, and shorten messages that pytest shows on one line.

    Three outputs show only the first line of a failure message: the short summary, the attribute
    ``message`` in JUnit files, and annotations in CI.

    Returns:
        The report of this phase of the test.

    """
    from pytest_tlsandbox.integration.pytest_private import errors_of_test_case

    aside = errors_of_test_case(item)
    raised = aside[0] if aside else call.excinfo
    if raised is None:
        return (yield)
    from pytest_tlsandbox.errors import TLSandboxError
    from pytest_tlsandbox.integration.tracebacks import show_first_line, without_our_frames

    error = without_our_frames(raised.value)
    call.excinfo = pytest.ExceptionInfo.from_exception(error)
    if aside:
        aside[0] = call.excinfo
    report = yield
    show_first_line(item, report, error)
    if isinstance(error, TLSandboxError) and error.snapshot is not None:
        from pytest_tlsandbox.integration.pytest_html import add_extra

        seen = error.snapshot
        add_extra(item.config, report, "text", seen, f"processes in {seen.sandbox}")
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Show this plugin's failure messages in colour, including messages from xdist workers."""
    if hasattr(report.longrepr, "chain"):
        from pytest_tlsandbox.integration.tracebacks import colour

        colour(report)


def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> list[str] | None:
    """If two processes or two snapshots are not equal, list the fields that differ."""
    if op != "==" or not type(left).__module__.startswith(__package__ or ""):
        return None
    from pytest_tlsandbox.integration.terminal import columns_of
    from pytest_tlsandbox.messages.equality_diff import compare

    return compare(left, right, columns_of(config))


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: object) -> None:
    """Store pytest-timeout's deadline for the test, so that waits can end before this deadline."""
    item.config.stash[_TEST_DEADLINE] = Clock.monotonic() + getattr(settings, "timeout", 0.0)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    """Delete the stored deadline of the test."""
    item.config.stash[_TEST_DEADLINE] = None


def _connections(config: pytest.Config) -> Connections:
    if _CONNECTIONS not in config.stash:
        from pytest_tlsandbox.connections import Connections
        from pytest_tlsandbox.failed_tests.plugin import FailedTests
        from pytest_tlsandbox.integration import api_key_hook
        from pytest_tlsandbox.integration.terminal import screen_of

        config.pluginmanager.register(api_key_hook)
        settings, ask = config.stash[_SETTINGS], config.hook.pytest_tlsandbox_api_key
        connections = Connections(
            settings,
            ask_for_key=lambda target: ask(config=config, target=target),
            test_deadline=lambda: config.stash.get(_TEST_DEADLINE, None),
            screen=screen_of(config),
        )
        config.stash[_CONNECTIONS] = connections
        config.pluginmanager.register(FailedTests(connections), "tlsandbox-failed-tests")
        config.add_cleanup(connections.close)
        if settings.output:
            from pytest_tlsandbox.report.output_files import OutputFiles

            config.pluginmanager.register(OutputFiles(config, settings, connections))
    return config.stash[_CONNECTIONS]


@pytest.fixture
def tlsandbox(request: pytest.FixtureRequest, tlsandbox_target: object) -> Iterator[Sandbox]:
    """Provide the sandbox under test, with a baseline from the start of the test.

    Use the methods of the sandbox to wait (wait_for_process, wait_for_exit ...), to assert
    (assert_process, assert_no_oom ...) and to start programs (start_process). When the test ends,
    the plugin kills the programs that the test started.

    Yields:
        A ``Sandbox``.

    Raises:
        InvalidSetting: no sandbox was given, or the API key is missing.
        InfrastructureError: the processes could not be listed.

    """
    # This does not use tlsandbox_session, because pytest creates that fixture only once, even if
    # folders override the target.
    sandbox = _connections(request.config).sandbox_from_now(tlsandbox_target)
    yield sandbox
    _kill_started(sandbox)


@pytest.fixture
def tlsandbox_async(tlsandbox: Sandbox) -> Iterator[AsyncSandbox]:
    """Provide the methods of the sandbox under test as awaitable methods, for asyncio and trio.

    The event loop keeps running during ``await tlsandbox_async.wait_for_exit(job)``. When a test
    ends, the plugin checks that every call was awaited. If a call was not awaited, the test fails.

    Yields:
        An ``AsyncSandbox``, which has the same methods as ``tlsandbox``.

    Raises:
        InvalidArgument: at the end of the test, if a call was not awaited.
        InvalidSetting: no sandbox was given, or the API key is missing.
        InfrastructureError: the processes could not be listed.

    """
    from pytest_tlsandbox.async_sandbox import AsyncSandbox, check_awaited

    sandbox = AsyncSandbox(tlsandbox)
    yield sandbox
    check_awaited(sandbox)


@pytest.fixture(scope="session")
def tlsandbox_session(
    tlsandbox_target: object, tlsandbox_connect: Callable[[object], Sandbox]
) -> Sandbox:
    """Provide the sandbox under test, without a baseline, for fixtures with a wider scope.

    Without a baseline, assertions check all known incidents, including incidents that happened
    before the session. When the session ends, the plugin kills the processes that were started
    through this object. This fixture is created only once in each session. If a folder overrides
    ``tlsandbox_target``, tests can have different targets. In this case, the target of
    ``tlsandbox_session`` is the target of the first test that requests ``tlsandbox_session``.

    Returns:
        A ``Sandbox``.

    Raises:
        InvalidSetting: no sandbox was given, or the API key is missing.

    """
    return tlsandbox_connect(tlsandbox_target)


@pytest.fixture(scope="session")
def tlsandbox_connect(request: pytest.FixtureRequest) -> Callable[[object], Sandbox]:
    """Provide a function that connects to another sandbox: ``tlsandbox_connect(target)``.

    ``target`` is the id, the name or the URL of the sandbox, or a sandbox object of the SDK. When
    the session ends, the plugin kills the processes that were started through the returned sandbox.

    Returns:
        A function that returns a ``Sandbox`` without a baseline. The function raises
        ``InvalidSetting`` if the target is invalid or does not have an API key. The function raises
        ``InvalidArgument`` if the target is an object that is not a sandbox.

    """

    def connect(target: object) -> Sandbox:
        sandbox = _connections(request.config).sandbox(target)
        request.addfinalizer(lambda: _kill_started(sandbox))
        return sandbox

    return connect


@pytest.fixture(scope="session")
def tlsandbox_target(request: pytest.FixtureRequest) -> object:
    """Provide the sandbox under test; the default is the value of ``--tlsandbox``.

    Override this fixture in a conftest to return the id, the URL or the SDK object of a sandbox
    that the suite created. All other fixtures, the guard and the report then use that sandbox.

    Returns:
        The id, the name or the URL of the sandbox as text, "local", or an object.

    Raises:
        InvalidSetting: no sandbox was given, or several sandboxes were given for a test that can
            run on only one.

    """
    if hasattr(request, "param"):
        return request.param
    from pytest_tlsandbox.setting_parsers import single_target

    return single_target(request.config.stash[_SETTINGS].targets)


@pytest.fixture(scope="session")
def tlsandbox_lister(request: pytest.FixtureRequest, tlsandbox_target: object) -> ProcessLister:
    """Provide an object that lists, but does not check, the processes of the sandbox under test.

    ``tlsandbox_lister.list()`` returns a ``ProcessSnapshot``. If the processes could not be listed,
    ``list()`` raises ``InfrastructureError``.

    Returns:
        A ``ProcessLister`` with the API key of the sandbox.

    Raises:
        InvalidSetting: no sandbox was given, or the API key is missing.

    """
    return _connections(request.config).connect(tlsandbox_target).client


@pytest.fixture(scope="session")
def tlsandbox_allow(request: pytest.FixtureRequest) -> Callable[..., AbstractContextManager[None]]:
    """Provide a function that allows findings of the guard in a ``with`` block.

    In the block ``with tlsandbox_allow("oom", reason="the limit is under test"):``, findings of the
    given rules are expected and do not fail the test. The marker with the same name applies to a
    whole test. If the guard is off, the block has no effect.

    Returns:
        A function that takes rules and ``reason``, and returns a context manager. The function
        raises ``InvalidArgument`` if a rule is unknown, or if the rules or the reason are missing.

    """
    from pytest_tlsandbox.errors import InvalidArgument, InvalidSetting
    from pytest_tlsandbox.guard.markers import check_allowance

    guard = request.config.pluginmanager.get_plugin("tlsandbox-guard")

    def allow(*rules: str, reason: str = "") -> AbstractContextManager[None]:
        try:
            checked, why = check_allowance(rules, reason)
        except InvalidSetting as error:
            raise InvalidArgument(str(error)) from None
        return contextlib.nullcontext() if guard is None else guard.allowing(checked, why)

    return allow


@pytest.fixture(scope="session")
def tlsandbox_local(request: pytest.FixtureRequest) -> LocalSandbox:
    """Provide the embedded sandbox.

    The sandbox starts when a test first requests it, and ends with the session. Under xdist, each
    worker has its own sandbox.

    Returns:
        A ``LocalSandbox`` with the attributes ``url``, ``api_key``, ``identifier`` and
        ``memory_limit``.

    Raises:
        LocalSandboxError: the extra ``local`` is not installed, or the server does not start.

    """
    return _connections(request.config).local()


def _kill_started(sandbox: Sandbox) -> None:
    """Kill the processes that a sandbox object started, and warn if some could not be killed."""
    if left := sandbox.kill_started():
        from pytest_tlsandbox.formatting.processes import list_texts, named

        message = f"{sandbox!r}: could not be killed: {list_texts([*map(named, left)])}"
        warnings.warn(pytest.PytestWarning(message), stacklevel=2)
