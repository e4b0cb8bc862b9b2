"""The hooks and fixtures. The first use of a fixture imports requests, pydantic and tenacity."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox import settings as setup
from pytest_tlsandbox.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

    from pytest_tlsandbox.async_sandbox import AsyncSandbox
    from pytest_tlsandbox.client.api import ProcessLister
    from pytest_tlsandbox.connections import Connections
    from pytest_tlsandbox.local.sandbox import LocalSandbox
    from pytest_tlsandbox.redact import Secret
    from pytest_tlsandbox.sandbox import Sandbox

_SETTINGS: pytest.StashKey[setup.Settings] = pytest.StashKey()
_CONNECTIONS: pytest.StashKey[Connections] = pytest.StashKey()
_TEST_DEADLINE: pytest.StashKey[float | None] = pytest.StashKey()


def __tracebackhide__(raised: pytest.ExceptionInfo[BaseException]) -> bool:  # noqa: N807 - pytest's name
    """Hide our frames when a fixture raises one of our errors."""
    from pytest_tlsandbox.errors import TLSandboxError

    return raised.errisinstance(TLSandboxError)


class Hooks:
    """The hooks that a conftest can implement."""

    @pytest.hookspec(firstresult=True)
    def pytest_tlsandbox_api_key(
        self, config: pytest.Config, target: object
    ) -> Secret | Callable[[], str | Secret] | None:
        """Return the API key for a sandbox, for example from a vault.

        If every implementation returns None, the environment variable ``TENSORLAKE_API_KEY`` is
        used.

        Args:
            config: the configuration of pytest.
            target: the sandbox, as given with ``--tlsandbox``, returned from ``tlsandbox_target``
                or passed to ``tlsandbox_connect``.

        Returns:
            ``Secret(key)``, or a function without arguments that returns the key; None if another
            implementation may provide it.

        """


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the hooks that a conftest can implement."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register each setting as an option and as an ini key."""
    about = "processes of a Tensorlake sandbox (API key: environment variable TENSORLAKE_API_KEY)"
    group = parser.getgroup("tlsandbox", about)
    for option in setup.OPTIONS:
        environment = f" [environment: {option.environment}]" if option.environment else ""
        action: dict[str, Any] = {"action": "store_true"}
        if option.metavar is not None:
            action = {"action": "append" if option.repeatable else "store"}
            action["metavar"] = option.metavar
        # None shows that the option was not given, so that the ini file applies.
        group.addoption(
            option.flag, dest=option.ini, default=None, help=option.help + environment, **action
        )
        if option.metavar is None:
            parser.addini(option.ini, option.help, "bool")
        elif option.repeatable:
            parser.addini(option.ini, option.help, "linelist")
        else:
            parser.addini(option.ini, option.help, "string")
    parser.addini(setup.MASK_INI, setup.MASK_HELP, "linelist")


def pytest_configure(config: pytest.Config) -> None:
    """Check every setting before the first test; start the guard and the report, if requested."""
    settings = config.stash[_SETTINGS] = _settings(config)
    if settings.masks:
        from pytest_tlsandbox.redact import set_masks

        set_masks(settings.masks)
        config.add_cleanup(lambda: set_masks(()))
    for marker in setup.MARKERS:
        config.addinivalue_line("markers", marker)
    if settings.report:
        from pytest_tlsandbox.start_monitoring import register_report

        register_report(config, settings, partial(_connections, config))
    if settings.guard:
        _start_guard(config)


def _settings(config: pytest.Config) -> setup.Settings:
    given = setup.read(config)
    if not given:
        return setup.Settings()
    from pytest_tlsandbox import setting_parsers
    from pytest_tlsandbox.errors import InvalidSetting

    try:
        return setting_parsers.check(given, config)
    except InvalidSetting as error:
        raise pytest.UsageError(str(error)) from None


def _start_guard(config: pytest.Config) -> None:
    from pytest_tlsandbox.start_monitoring import register_guard

    register_guard(config, config.stash[_SETTINGS], partial(_connections, config))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Check the markers of all tests, and that guarded tests have a sandbox."""
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
        # xdist reports an error of a worker as a crash, so end the session with the message.
        session.items.clear()
        session.shouldstop = str(error)


@pytest.hookimpl(tryfirst=True)
def pytest_report_from_serializable(config: pytest.Config, data: dict[str, Any]) -> None:
    """Start the guard on the controller of xdist when a worker reports a test with a marker."""
    if "guard" in data.get(setup.FACTS, ()):
        _start_guard(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Return lines that name the sandboxes under test and the rules of the guard, if any."""
    settings = config.stash[_SETTINGS]
    lines = [f"tlsandbox: {', '.join(settings.targets)}"] if settings.targets else []
    if settings.guard:
        only = ", report only" if settings.guard_report_only else ""
        lines.append(f"tlsandbox guard: {', '.join(settings.guard)}{only}")
    return lines


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on each of several sandboxes, unless the suite chooses the sandbox."""
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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Set ``tlsandbox`` up first, so that a process that a fixture starts belongs to the test.

    Only fixtures of wider scope that a test uses without an argument (autouse, usefixtures) come
    before it, because they may provide the key or the sandbox.
    """
    names = getattr(item, "fixturenames", [])
    if "tlsandbox" not in names:
        return
    from pytest_tlsandbox.integration.pytest_private import unrequested_fixtures

    unrequested = unrequested_fixtures(item)
    first = [name for name in names if name in unrequested]
    rest = [name for name in names if name not in first and name != "tlsandbox"]
    names[:] = [*first, "tlsandbox", *rest]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """End the traceback at the user's line, and show the first line where only one line fits.

    Those places are the short summary, the ``message`` of JUnit and annotations in CI.

    Returns:
        The report of the phase.

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
    """Show our failures in colour where pytest has colours, those of xdist workers included."""
    if hasattr(report.longrepr, "chain"):
        from pytest_tlsandbox.integration.terminal_colour import colour

        colour(report)


def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> list[str] | None:
    """Return the fields that differ between two processes, or two snapshots, that must be equal."""
    if op != "==" or not type(left).__module__.startswith(__package__ or ""):
        return None
    from pytest_tlsandbox.integration.terminal import columns_of
    from pytest_tlsandbox.messages.equality_diff import compare

    return compare(left, right, columns_of(config))


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: object) -> None:
    """Store when pytest-timeout would end the test, so that a wait ends and reports earlier."""
    item.config.stash[_TEST_DEADLINE] = Clock.monotonic() + getattr(settings, "timeout", 0.0)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    """Forget the deadline of the test."""
    item.config.stash[_TEST_DEADLINE] = None


def _connections(config: pytest.Config) -> Connections:
    if _CONNECTIONS not in config.stash:
        from pytest_tlsandbox.connections import Connections
        from pytest_tlsandbox.integration import api_key_hook
        from pytest_tlsandbox.integration.terminal import screen_of

        config.pluginmanager.register(api_key_hook)
        connections = Connections(
            config.stash[_SETTINGS],
            ask_for_key=lambda target: config.hook.pytest_tlsandbox_api_key(
                config=config, target=target
            ),
            test_deadline=lambda: config.stash.get(_TEST_DEADLINE, None),
            screen=screen_of(config),
        )
        config.stash[_CONNECTIONS] = connections
        config.add_cleanup(connections.close)
    return config.stash[_CONNECTIONS]


@pytest.fixture
def tlsandbox(request: pytest.FixtureRequest, tlsandbox_target: object) -> Iterator[Sandbox]:
    """Provide the sandbox under test, with a baseline from the start of the test.

    It waits (wait_for_process, wait_for_exit ...), asserts (assert_process, assert_no_oom ...) and
    starts programs (start_process). When the test ends, the plugin kills these programs.

    Yields:
        A ``Sandbox``.

    Raises:
        InvalidSetting: no sandbox was given, or no API key for it.
        InfrastructureError: the processes could not be listed.

    """
    # Not from tlsandbox_session, which pytest creates once, even if folders override the target.
    sandbox = _connections(request.config).sandbox_from_now(tlsandbox_target)
    yield sandbox
    _kill_started(sandbox)


@pytest.fixture
def tlsandbox_async(tlsandbox: Sandbox) -> Iterator[AsyncSandbox]:
    """Provide the sandbox under test with awaitable calls, for coroutines of asyncio and trio.

    The event loop keeps running during ``await tlsandbox_async.wait_for_exit(job)``. If a call was
    not awaited, the test fails when it ends.

    Yields:
        An ``AsyncSandbox``, whose calls are those of ``tlsandbox``.

    Raises:
        InvalidArgument: at the end of the test, if a call was not awaited.
        InvalidSetting: no sandbox was given, or no API key for it.
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
    """Provide the sandbox under test for fixtures of wider scope; it has no baseline.

    Without a baseline, its assertions check all known incidents, also those before the session.
    When the session ends, the plugin kills the processes that were started through it. The session
    has one such object: if folders override ``tlsandbox_target``, it uses the target of the first
    test that requests it.

    Returns:
        A ``Sandbox``.

    Raises:
        InvalidSetting: no sandbox was given, or no API key for it.

    """
    return tlsandbox_connect(tlsandbox_target)


@pytest.fixture(scope="session")
def tlsandbox_connect(request: pytest.FixtureRequest) -> Iterator[Callable[[object], Sandbox]]:
    """Provide a function that connects to another sandbox: ``tlsandbox_connect(target)``.

    ``target`` is the id, the name or the URL of the sandbox, or an object of the SDK. When the
    session ends, the plugin kills the processes that were started through it.

    Yields:
        A function that returns a ``Sandbox`` without a baseline. It raises ``InvalidSetting`` if
        the target is invalid or has no API key, and ``InvalidArgument`` for an object that is not a
        sandbox.

    """
    made: list[Sandbox] = []

    def connect(target: object) -> Sandbox:
        sandbox = _connections(request.config).sandbox(target)
        made.append(sandbox)
        return sandbox

    yield connect
    for sandbox in made:
        _kill_started(sandbox)


@pytest.fixture(scope="session")
def tlsandbox_target(request: pytest.FixtureRequest) -> object:
    """Provide the sandbox to connect to: the value of --tlsandbox.

    Override this fixture in a conftest to return the id, the URL or the SDK object of a sandbox
    that the suite created. All other fixtures, the guard and the report then use that sandbox.

    Returns:
        The id, the name or the URL of the sandbox as text, "local", or an object.

    Raises:
        InvalidSetting: no sandbox was given, or several and the test cannot run on each.

    """
    if hasattr(request, "param"):
        return request.param
    from pytest_tlsandbox.setting_parsers import single_target

    return single_target(request.config.stash[_SETTINGS].targets)


@pytest.fixture(scope="session")
def tlsandbox_lister(request: pytest.FixtureRequest, tlsandbox_target: object) -> ProcessLister:
    """Provide the process list of the sandbox under test, without checks.

    ``tlsandbox_lister.list()`` returns a ``ProcessSnapshot``; it raises ``InfrastructureError`` if
    the processes could not be listed.

    Returns:
        A ``ProcessLister`` with the API key of the sandbox.

    Raises:
        InvalidSetting: no sandbox was given, or no API key for it.

    """
    return _connections(request.config).connect(tlsandbox_target).client


@pytest.fixture(scope="session")
def tlsandbox_allow(
    request: pytest.FixtureRequest,
) -> Callable[..., AbstractContextManager[None]]:
    """Provide a function that allows findings of the guard in a ``with`` block.

    In ``with tlsandbox_allow("oom", reason="the limit is under test"):``, findings of the named
    rules are expected and do not fail the test. The marker of the same name applies to a whole
    test. Without a guard, the block has no effect.

    Returns:
        A function that takes rules and ``reason``, and returns a context manager. It raises
        ``InvalidArgument`` for an unknown rule, or if the rule or the reason is missing.

    """
    from pytest_tlsandbox.errors import InvalidArgument, InvalidSetting
    from pytest_tlsandbox.guard.markers import check_allowance
    from pytest_tlsandbox.start_monitoring import GUARD

    guard = request.config.stash.get(GUARD, None)

    def allow(*rules: str, reason: str = "") -> AbstractContextManager[None]:
        try:
            checked, why = check_allowance(rules, reason)
        except InvalidSetting as error:
            raise InvalidArgument(str(error)) from None
        return contextlib.nullcontext() if guard is None else guard.allowing(checked, why)

    return allow


@pytest.fixture(scope="session")
def tlsandbox_local(request: pytest.FixtureRequest) -> LocalSandbox:
    """Provide the embedded sandbox of this process: url, api_key, identifier, memory_limit.

    It starts when a test first requests it, and ends with the session. Under xdist, each worker has
    its own.

    Returns:
        A ``LocalSandbox``.

    Raises:
        LocalSandboxError: the extra ``local`` is not installed, or the server does not start.

    """
    return _connections(request.config).local()


def _kill_started(sandbox: Sandbox) -> None:
    from pytest_tlsandbox.connections import kill_started

    kill_started(sandbox)
