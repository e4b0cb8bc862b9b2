"""Run the server process, which serves the sandbox until its parent closes the pipe or ends.

When the server ends, all processes of the sandbox end too. For this reason, the server is a
separate process, which monitors its parent in two ways. The server reads the pipe from the parent.
The server also checks the pid of its parent, because a fork of the parent may keep the pipe open.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import signal
import socket
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pytest_tlsandbox.local import tunnel
from pytest_tlsandbox.local.files import Files, writable_by_default
from pytest_tlsandbox.local.memory_mechanism import limit_memory
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
    output, either ``{"port": ...}`` or ``{"error": ...}``.

    Args:
        settings: the settings that ``sandbox.start_local_sandbox`` sends.

    """
    _forget_inherited_signals()
    _become_subreaper()
    _allow_many_files()
    asyncio.run(_serve(settings))
    # A thread that still runs must not delay the exit.
    os._exit(0)


async def _serve(settings: dict[str, Any]) -> None:
    try:
        listening = _listen(settings["port"])
        memory = limit_memory(settings["memory_limit"], settings["token"], settings["mechanism"])
    except OSError as error:
        _announce({"error": str(error)})
        return
    supervisor = Supervisor(memory, settings["token"])
    files = Files([*writable_by_default(), *settings["writable"]])
    identity = {name: settings[name] for name in ("identifier", "api_key")}
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(supervisor, files, **identity),
            http=_Protocol,
            loop="asyncio",
            ws="none",
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
    )
    ended = asyncio.Event()
    watching = asyncio.create_task(_watch_parent(ended))
    with listening:
        serving = asyncio.create_task(server.serve([listening]))
        _announce({"port": listening.getsockname()[1]})
        await ended.wait()
        supervisor.close()
        serving.cancel()
        watching.cancel()


class _Protocol(H11Protocol):
    """The HTTP protocol.

    A request is upgraded to a WebSocket only if the request is a complete handshake for the tunnel.
    """

    def _should_upgrade_to_ws(self) -> bool:
        request = self.scope["method"], self.scope["raw_path"]
        if request != ("GET", b"/api/v1/tunnels/tcp") or tunnel.handshake_error(self.scope):
            return False
        from uvicorn.protocols.websockets.wsproto_impl import WSProtocol  # takes 17 ms

        self.ws_protocol_class = WSProtocol
        return True


def _listen(port: int) -> socket.socket:
    # asyncio disables Nagle's algorithm, which costs 44 ms a request, only if the protocol is set.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # Without this option, the port of a server that has just exited would stay in use for a while.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(1024)
    return listening


async def _watch_parent(ended: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    parent = os.getppid()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    while os.getppid() == parent:
        await asyncio.sleep(_PARENT_CHECK_SECONDS)
    ended.set()


def _announce(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


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
    """Raise the limit of open files.

    The server may have to run a thousand processes. For each process, the server needs up to three
    open files. Programs inherit the limit. A higher limit would slow down the start of some
    programs, because these programs first close every file descriptor up to the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _become_subreaper() -> None:
    """Become the parent of orphans, including orphans in another session.

    This function has an effect only on Linux.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
