"""Run the server process, which serves the sandbox until its parent closes the pipe or ends.

When the server ends, all processes of the sandbox end too. For this reason, the server is a
separate process, which monitors its parent in two ways. The server reads the pipe from the parent.
The server also checks the pid of its parent, because a fork of the parent may keep the pipe open.
"""

import asyncio
import ctypes
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, cast

import uvicorn

from pytest_tlsandbox.local.memory_cgroup import CgroupV1, CgroupV2, own_groups
from pytest_tlsandbox.local.memory_limit import Mechanism, MemoryLimit
from pytest_tlsandbox.local.memory_watchdog import Watchdog
from pytest_tlsandbox.local.process import is_set_within
from pytest_tlsandbox.local.routes import build_app
from pytest_tlsandbox.local.supervisor import Supervisor

_PR_SET_CHILD_SUBREAPER = 36
_PARENT_CHECK_SECONDS = 0.5
_OPEN_FILES = 10_000
# So long that no client finds its idle connection closed.
_KEEP_ALIVE_SECONDS = 24 * 3600


def main(settings: dict[str, Any]) -> None:
    """Serve until the parent ends the sandbox, then exit.

    Standard input is the pipe from the parent. The parent sends one line of settings. Afterwards,
    the parent sends nothing until it ends the sandbox. The server writes one line to standard
    output, the port. If the server cannot start, it writes the reason to standard error instead.

    Args:
        settings: the settings that ``sandbox.start_local_sandbox`` sends.

    """
    _forget_inherited_signals()
    if sys.platform == "linux":
        # Become the parent of orphans, including orphans in another session.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _allow_many_files()
    asyncio.run(_serve(settings))
    # A thread that still runs must not delay the exit.
    os._exit(0)


async def _serve(settings: dict[str, Any]) -> None:
    try:
        listening = _listen(settings["port"])
        memory = _limit_memory(settings["memory_limit"], settings["token"], settings["mechanism"])
    except (OSError, OverflowError) as error:
        sys.exit(str(error))
    supervisor = Supervisor(memory, settings["token"])
    config = uvicorn.Config(
        build_app(supervisor, settings),
        http="httptools",
        ws=cast("Any", _websocket_protocol),
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    with listening:
        supervisor.run_in_background(uvicorn.Server(config).serve([listening]))
        os.write(sys.stdout.fileno(), b"%d\n" % listening.getsockname()[1])
        await _wait_for_parent()
        supervisor.close()


def _websocket_protocol(**arguments: Any) -> asyncio.Protocol:
    """Create the protocol that replaces the HTTP protocol after an upgrade to a WebSocket."""
    from uvicorn.protocols.websockets.wsproto_impl import WSProtocol  # takes 30 ms

    return WSProtocol(**arguments)


def _limit_memory(limit_bytes: int | None, token: str, mechanism: Mechanism | None) -> MemoryLimit:
    """Limit the memory of all processes together.

    Args:
        limit_bytes: the limit in bytes; None for no limit.
        token: the token of the sandbox, which marks its processes (see ``process_tree``).
        mechanism: the only mechanism to use; None for the best mechanism that works on this
            machine.

    Returns:
        The memory limit.

    Raises:
        OSError: the requested mechanism does not work on this machine.

    """
    if limit_bytes is None:
        return MemoryLimit()
    groups = own_groups()
    for cgroup in (CgroupV1, CgroupV2):
        if cgroup.mechanism in groups and mechanism in (None, cgroup.mechanism):
            with suppress(OSError):
                return cgroup(groups[cgroup.mechanism], limit_bytes)
    if mechanism in (None, Watchdog.mechanism):
        return Watchdog(limit_bytes, token)
    raise OSError(f"{mechanism} cannot limit memory on this machine")


def _listen(port: int) -> socket.socket:
    listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    # Accepted connections inherit this option. Nagle's algorithm would cost 44 ms a request.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


async def _wait_for_parent() -> None:
    """Wait until SIGTERM arrives, the parent ends the sandbox, or the parent process ends."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    parent = os.getppid()
    while os.getppid() == parent:
        if await is_set_within(ended, _PARENT_CHECK_SECONDS):
            return


def _forget_inherited_signals() -> None:
    """Unblock all signals, and restore the default actions of ignored signals.

    Otherwise, programs would inherit the blocked and ignored signals of the test process.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # Python itself ignores these two, and Popen restores them for programs.
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _allow_many_files() -> None:
    """Raise the limit on the number of open files.

    The server may have to run a thousand processes. For each process, the server needs up to four
    open files. Programs inherit the limit. A higher limit would slow down the start of some
    programs, because these programs first close every file descriptor up to the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _OPEN_FILES:
        with suppress(ValueError):  # the hard limit is lower
            resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, hard))
