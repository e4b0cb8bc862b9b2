"""Register the plugins of the guard and of the report, if they are requested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_tlsandbox.connections import Connections
    from pytest_tlsandbox.guard.guard import Guard
    from pytest_tlsandbox.monitoring.monitor import Monitor
    from pytest_tlsandbox.monitoring.session_data import SessionData
    from pytest_tlsandbox.settings import Settings

GUARD: pytest.StashKey[Guard] = pytest.StashKey()
_MONITOR: pytest.StashKey[Monitor] = pytest.StashKey()
_SESSION: pytest.StashKey[SessionData] = pytest.StashKey()


def register_guard(
    config: pytest.Config, settings: Settings, connections: Callable[[], Connections]
) -> None:
    """Register the guard, and also its summary if this process reports the results."""
    if GUARD in config.stash:
        return
    from pytest_tlsandbox.guard.plugin import GuardPlugin
    from pytest_tlsandbox.guard.summary import GuardSummary

    _register_monitor(config, settings, connections)
    plugin = GuardPlugin(settings, config.stash[_MONITOR], lambda: connections().screen)
    config.stash[GUARD] = plugin.guard
    config.pluginmanager.register(plugin, "tlsandbox-guard")
    if _SESSION in config.stash:
        summary = GuardSummary(config, settings, config.stash[_SESSION])
        config.pluginmanager.register(summary, "tlsandbox-guard-summary")


def register_report(
    config: pytest.Config, settings: Settings, connections: Callable[[], Connections]
) -> None:
    """Register the recorder, and also the report writer if this process reports the results."""
    from pytest_tlsandbox.report.plugin import ReportPlugin
    from pytest_tlsandbox.report.recorder import Recorder

    _register_monitor(config, settings, connections)
    monitor = config.stash[_MONITOR]
    monitor.observers.append(Recorder(monitor))
    if _SESSION in config.stash:
        report = ReportPlugin(config, settings, config.stash[_SESSION])
        config.pluginmanager.register(report, "tlsandbox-report")


def _register_monitor(
    config: pytest.Config, settings: Settings, connections: Callable[[], Connections]
) -> None:
    """Register the monitor that the guard and the report share.

    If this process is not an xdist worker, also register the collector of the monitor's data.
    """
    if _MONITOR in config.stash:
        return
    from pytest_tlsandbox.monitoring.collector import Collector
    from pytest_tlsandbox.monitoring.plugin import MonitorPlugin

    plugin = MonitorPlugin(config, settings, connections)
    config.stash[_MONITOR] = plugin.monitor
    config.pluginmanager.register(plugin, "tlsandbox-monitor")
    if plugin.monitor.worker is None:
        collector = Collector(config, settings, plugin)
        config.stash[_SESSION] = collector.session
        config.pluginmanager.register(collector, "tlsandbox-collector")
