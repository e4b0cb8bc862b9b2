"""The server process: serves the sandbox until its parent closes the pipe, or is gone.

It ends with all that it started. That is why it is a process of its own, and watches its parent in
two ways: by the pipe, and, because a fork of the parent may hold that open, by whose child it is.
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

from pytest_tlsandbox.local.memory_selection import limit_memory
from pytest_tlsandbox.local.routes import build_app
from pytest_tlsandbox.local.supervisor import Supervisor

_PR_SET_CHILD_SUBREAPER = 36
_PARENT_CHECK_SECONDS = 0.5
_OPEN_FILES = 10_000
# No client is to find its kept-alive connection closed under it.
_KEEP_ALIVE_SECONDS = 24 * 3600


def main(settings: dict[str, Any]) -> None:
    """Serve until the parent ends it. The settings are those that ``sandbox`` writes.

    Standard input is the pipe from the parent: one line of settings, then nothing until the end.
    Standard output takes one line: ``{"port": ...}``, or ``{"error": ...}``.
    """
    _forget_inherited_signals()
    _become_subreaper()
    _allow_many_files()
    asyncio.run(_serve(settings))
    # Whatever may still hold on to a thread must not hold up the end.
    os._exit(0)


async def _serve(settings: dict[str, Any]) -> None:
    try:
        listening = _listen(settings["port"])
        memory = limit_memory(settings["memory_limit"], settings["token"], settings["mechanism"])
    except OSError as error:
        _announce({"error": str(error)})
        return
    supervisor = Supervisor(memory, settings["token"])
    identity = {name: settings[name] for name in ("identifier", "api_key")}
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(supervisor, **identity),
            http="h11",
            loop="asyncio",
            ws="none",
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


def _listen(port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named: 44 ms a request.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # The port of a server that has just ended is free at once.
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
    """Undo what the tests' process blocks or ignores; programs would inherit it from us."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # These two Python ignores for itself, and Popen gives back to programs.
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _allow_many_files() -> None:
    """Raise the limit on open files: each process has up to three, and a thousand may be alive.

    Programs inherit it. Some close everything up to the limit when they start, so it stays modest.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _become_subreaper() -> None:
    """Have orphans, those of a session of their own included, come to us (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
