"""Print the page of ``pytest --tlsandbox-doctor``, which helps if tests cannot reach a sandbox.

The calls for this page start no process in a sandbox, and change nothing there.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from statistics import median
from typing import Any

import pytest
from requests.utils import select_proxy

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.api import WEBSOCKET, SandboxClient
from pytest_tlsandbox.client.call_deadline import environment_of
from pytest_tlsandbox.client.response_bodies import json_object
from pytest_tlsandbox.connections import Connections
from pytest_tlsandbox.formatting.text import align, count, printable
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.integration.pytest_private import configure
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from pytest_tlsandbox.redact import mask_args, mask_text
from pytest_tlsandbox.setting_parsers import single_target
from pytest_tlsandbox.settings import LOCAL, read
from pytest_tlsandbox.waiting.suggestions import SEE_ROWS, hint_of

_AGAIN = "run pytest --tlsandbox-doctor again"
_PATIENCE = 5.0
"""Seconds for which the list call is retried; a suspended sandbox usually resumes within 1 s."""
_CALLS = 5
"""The number of list calls whose median duration is shown."""
_LIMIT = 2.0
"""Maximum seconds of a call that finds out what the sandbox supports."""
_SOME_MEMORY = 2**30
"""A limit in bytes, to find out how the embedded sandbox can limit memory on this machine."""
_ROUTES = {
    "event streams": ("/processes/999999999/stderr/follow", "|404 NOT_FOUND", "404|405"),
    # The port 0 is invalid, so the sandbox connects to nothing.
    "tunnel to ports": ("/tunnels/tcp?port=0", "400.*|502.*", "404.*|405.*"),
    # A sandbox that cannot manage processes expects a number in the place of the name.
    "managed processes": ("/processes/tlsandbox-doctor", "|404 NOT_FOUND", "400"),
}
"""Calls that need a feature: the path, and regular expressions for the label of the error.

If the first expression matches, the sandbox has the feature. If the second expression matches, the
sandbox lacks the feature. The label is empty if the call succeeds. The pid and the name belong to no process.
"""
_COUNTER = "kernel's OOM counter"
_WITHOUT = {
    "event streams": "waits need more list calls",
    "tunnel to ports": "wait_for_port fails; use health_check= instead",
    "managed processes": "start_process fails if it receives name=, restart= or health_check=",
    "handles": "the plugin identifies a run by its pid and its start time",
    _COUNTER: "OOM kills of processes that are not listed are not found",
}
"""What happens without a feature."""
_SHARED = "yes, but other sandboxes may share the kernel, so its OOM kills are only suspected"


def examine(config: pytest.Config, connect: Callable[[pytest.Config], Connections]) -> int:
    """Print the page.

    Args:
        config: the configuration of pytest, before the hooks ``pytest_configure`` were called.
        connect: a function that returns the connections of the session.

    Returns:
        The exit status: 0 if the plugin can use every sandbox, otherwise 1.

    """
    own, python = f"pytest-tlsandbox {version('pytest-tlsandbox')}", platform.python_version()
    _print(f"{own}, pytest {pytest.__version__}, Python {python}, {platform.platform()}")
    plugins = config.pluginmanager.list_plugin_distinfo()
    others = {f"{found.project_name} {found.version}" for _, found in plugins} - {own}
    _print(f"other plugins: {', '.join(sorted(others)) or 'none'}", "", "settings")
    try:
        configure(config)
        given = read(config)
    except pytest.UsageError as error:
        _print(f"  {error}", "", f"next: correct this setting, and {_AGAIN}")
        return 1
    settings = {source: _values(name, texts) for name, (texts, source) in given.items()}
    _print_rows(settings or {"all settings have their default values": ""})

    connections = connect(config)
    targets = connections.settings.targets
    args = [arg for arg in map(str, config.invocation_params.args) if arg != "--tlsandbox-doctor"]
    works = f"run your tests: {shlex.join(['pytest', *mask_args(args)])}"
    steps, lacking = [], False
    for target in targets or ("",):
        step, lacks_something = _examine(connections, target)
        if step:
            steps.append(f"{target}: {step}" if len(targets) > 1 else step)
        lacking |= lacks_something
    if lacking:
        works += ' (each "no" above says what is different for them)'
    _print("", *(f"next: {step}" for step in steps or [works]))
    return 1 if steps else 0


def _values(name: str, texts: Sequence[object]) -> str:
    if name == "masks":  # a pattern may contain a secret
        return count(len(texts), "pattern")
    return " ".join("on" if text is True else str(text) for text in texts)


def _examine(connections: Connections, target: str) -> tuple[str, bool]:
    """Print what can be found out about a sandbox.

    Args:
        connections: the connections of the session.
        target: the id, name or URL of the sandbox, or "local"; "" if none was given.

    Returns:
        How to solve the problem with this sandbox, or "" if the plugin can use it; and whether the
        sandbox lacks a feature.

    """
    _print("", f"sandbox {target or '(none)'}")
    rows: dict[str, str] = {}
    try:
        rows.update(_facts(connections, target))  # up to the call that fails
        step = SEE_ROWS if "unreadable" in rows else ""
    except errors.InfrastructureError as error:
        rows["failed"] = error.first_line
        step = hint_of(error) or f"solve this problem, and {_AGAIN}"
    except errors.TLSandboxError as error:
        # Messages about settings and about the embedded sandbox end with the solution.
        rows["failed"], _, solution = error.first_line.partition("; ")
        step = solution or f"solve this problem, and {_AGAIN}"
    _print_rows(rows)
    if target != LOCAL and "address" in rows:
        _print("  The calls for this page keep the sandbox awake, or wake it.")
    return step, any(fact.startswith("no: ") for fact in rows.values())


def _facts(connections: Connections, target: str) -> Iterator[tuple[str, str]]:
    """Yield facts about a sandbox. A later fact replaces an earlier fact with the same name.

    Raises:
        TLSandboxError: the plugin cannot use the sandbox.

    """
    connection = connections.connect(target or single_target(()))
    client = connection.client
    yield from _route(client.transport.address)
    yield "API key", f"from {connection.key_source}"
    snapshot = client.list(patience=_PATIENCE)
    yield "API key", f"accepted; from {connection.key_source}"
    polls = [client.poll(counts_kills=False) for _ in range(_CALLS)]
    milliseconds = 1000 * median(poll.ended - poll.begun for poll in polls)
    listed = count(len(snapshot), "process")
    yield "list call", f"{listed} in {milliseconds:.1f} ms (median of {_CALLS} calls)"
    if snapshot.unreadable:
        yield "unreadable", "; ".join(map(str, snapshot.unreadable[:3]))
    info = _info(client)
    yield "version", str(info.get("version", "not known"))
    yield "memory limit", _memory_limit(info)
    yield from _features(client, snapshot)
    if _memory_limit(info) == "none":
        yield _COUNTER, "not needed without a memory limit"
    if target == LOCAL and connections.settings.memory is None:
        with start_local_sandbox(memory_limit=_SOME_MEMORY) as limited:
            possible = _info(connections.connect(limited).client)
        mechanism = _memory_limit(possible).partition(", ")[2]
        yield "memory limit", f"none; --tlsandbox-memory works here, {mechanism}"


def _route(address: Address) -> Iterator[tuple[str, str]]:
    """Yield how requests reach a sandbox."""
    headers = [f"{name}: {value}" for name, value in address.headers.items()]
    yield "address", ", ".join([address.url, *headers])
    proxies, certificates = environment_of(address)
    proxy, shown = select_proxy(address.url, proxies), "none"
    if proxy:
        password, _, host = proxy.rpartition("@")
        source = _variable(proxy, f"{address.url.partition(':')[0]}_proxy", "all_proxy")
        shown = f"{host.rpartition('//')[2]}{' with a password' * bool(password)}; from {source}"
    yield "HTTP proxy", shown
    if isinstance(certificates, str) and address.url.startswith("https"):
        source = _variable(certificates, "requests_ca_bundle", "curl_ca_bundle")
        yield "certificates", f"{certificates}; from {source}"


def _variable(value: str, *names: str) -> str:
    """Return which environment variable has a value; the names are in lower case."""
    for name, given in os.environ.items():
        if name.lower() in names and given == value:
            return f"environment variable {name}"
    return "the settings of this machine"


def _info(client: SandboxClient) -> dict[str, Any]:
    """Return what a sandbox says about itself; nothing if it says nothing."""
    with suppress(errors.InfrastructureError):
        return json_object(client.transport.request("GET", "/info", limit=_LIMIT).body)
    return {}


def _memory_limit(info: Mapping[str, Any]) -> str:
    memory = info.get("memory")
    if not isinstance(memory, dict):
        return "not known"
    size, mechanism = memory.get("limit_bytes"), memory.get("mechanism")
    return f"{size / 2**20:.0f} MiB, by {mechanism}" if isinstance(size, int) else "none"


def _features(client: SandboxClient, snapshot: ProcessSnapshot) -> Iterator[tuple[str, str]]:
    """Yield what a sandbox supports."""
    for name, (path, has_it, lacks_it) in _ROUTES.items():
        label, upgrade = "", WEBSOCKET if "tunnel" in name else None
        try:
            client.transport.request("GET", path, limit=_LIMIT, upgrade=upgrade)
        except errors.InfrastructureError as error:
            label = error.label
        if re.fullmatch(f"{has_it}|{lacks_it}", label):
            yield _feature(name, has=re.fullmatch(has_it, label) is not None)
        else:
            yield name, "not known"
    if any(row.managed for row in snapshot):
        yield _feature("managed processes", has=True)
    if len(snapshot):
        yield _feature("handles", has=all(row.handle is not None for row in snapshot))
    if client.kernel is not None:
        yield _feature(_COUNTER, has=snapshot.kernel is not None)
    if snapshot.kernel is not None and not snapshot.kernel.own:
        yield _COUNTER, _SHARED


def _feature(name: str, *, has: bool) -> tuple[str, str]:
    return name, "yes" if has else f"no: {_WITHOUT[name]}"


def _print_rows(rows: Mapping[str, str]) -> None:
    _print(*(f"  {line}" for line in align(rows.items())))


def _print(*lines: str) -> None:
    """Print lines at once, so that a slow call does not delay what is already known."""
    sys.stdout.writelines(f"{printable(mask_text(line))}\n" for line in lines)
    sys.stdout.flush()
