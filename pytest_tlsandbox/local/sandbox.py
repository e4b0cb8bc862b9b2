"""The tests' side of the embedded sandbox: starts it as a child process, and ends it.

Imports nothing of the extra; that is for the child.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import sys
import tempfile
import weakref
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

# By name: a test may have put a stand-in for subprocess.Popen when the sandbox is first asked for.
from subprocess import PIPE, Popen
from typing import IO, TYPE_CHECKING, Any, final

from pytest_tlsandbox.errors import LocalSandboxError
from pytest_tlsandbox.local.environment import without_secrets
from pytest_tlsandbox.redact import Secret

if TYPE_CHECKING:
    from pytest_tlsandbox.local.memory_limit import Mechanism

_START_SECONDS = 20.0
# The child gives itself 3 s.
_CLOSE_SECONDS = 5.0
_STDERR_TAIL = 2000

# The child finds this package, and what the extra brings, where we do, in whatever form it is
# installed; the standard library comes first, so that no test module can stand in its place.
_BOOTSTRAP = """
import json, sys
settings = json.loads(sys.stdin.buffer.raw.readline())
sys.path += [p for p in settings["sys_path"] if p not in sys.path]
from pytest_tlsandbox.local.server_process import main
main(settings)
"""
# Isolated, and without ``site``: nothing that is set up for the tests' interpreter (PYTHON*
# variables, coverage's .pth, sitecustomize) reaches the sandbox.
_FLAGS = ["-I", "-S", "-W", "ignore", "-X", "utf8"]


@final
class LocalSandbox:
    """A running embedded sandbox. Ends with ``close()``, with its context, and with its process.

    Attributes:
        url: where it listens, ``http://127.0.0.1:<port>``.
        api_key: what it wants as a bearer token.
        identifier: its id; a request that names another is answered 404.
        memory_limit: bytes that all its processes together may use; None for no limit.
        pid: of the server.

    """

    def __init__(
        self, server: Popen[bytes], port: int, settings: dict[str, Any], api_key: Secret
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.api_key = api_key
        self.identifier: str = settings["identifier"]
        self.memory_limit: int | None = settings["memory_limit"]
        self.pid = server.pid
        self._server = server
        # Also when it is forgotten, and when the interpreter ends; and once only.
        self._finalizer = weakref.finalize(self, _end, server, settings["token"], os.getpid())

    def close(self) -> None:
        """Kill everything that was started in the sandbox, and end it. Takes some seconds at most.

        Does nothing the second time, nor in a fork of the process that started it.
        """
        self._finalizer()

    def wait(self) -> None:
        """Wait until the server has ended by itself."""
        assert self._server.stdout is not None
        _is_readable(self._server.stdout, None)

    def __enter__(self) -> LocalSandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LocalSandbox {self.identifier!r} at {self.url}>"


def start_local_sandbox(
    *,
    memory_limit: int | None = None,
    identifier: str = "local",
    mechanism: Mechanism | None = None,
    port: int = 0,
) -> LocalSandbox:
    """Start an embedded sandbox in a child process, on a port of 127.0.0.1; 0 is a free one.

    ``memory_limit`` is in bytes, over all its processes together. ``mechanism`` insists on a way
    to hold it; without it, the best that works on this machine is taken.

    Raises LocalSandboxError if the extra is not installed, if the limit is not above 0, or
    if the server does not come up.
    """
    _check_extra()
    if memory_limit is not None and memory_limit <= 0:
        raise LocalSandboxError(f"A memory limit is a number of bytes above 0, not {memory_limit}")
    # In no frame of a traceback, nor in what -l shows of one, is it a text.
    api_key = Secret(secrets.token_urlsafe(32))
    settings: dict[str, Any] = {
        "identifier": identifier,
        "memory_limit": memory_limit,
        "mechanism": mechanism,
        "port": port,
        "token": secrets.token_hex(8),
        "sys_path": [*map(os.path.abspath, sys.path), str(Path(__file__).parents[2])],
    }
    flags = [*_FLAGS, "-B"] if sys.dont_write_bytecode else _FLAGS
    with tempfile.TemporaryFile() as stderr:
        server = Popen(
            [sys.executable, *flags, "-c", _BOOTSTRAP],
            stdin=PIPE,
            stdout=PIPE,
            stderr=stderr,
            env=without_secrets(os.environ),
            # Ctrl-C in the terminal is for the tests; the sandbox ends when they do.
            start_new_session=True,
        )
        try:
            assert server.stdin is not None
            with suppress(BrokenPipeError):  # it has ended already; its standard error says why
                # Without a variable: a traceback may show those of its frames.
                server.stdin.write(
                    json.dumps({**settings, "api_key": api_key.reveal()}).encode() + b"\n"
                )
                server.stdin.flush()
            port = _await_port(server, stderr)
        except BaseException:
            _end(server, settings["token"], os.getpid())
            raise
    return LocalSandbox(server, port, settings, api_key)


def _check_extra() -> None:
    if os.name != "posix":
        raise LocalSandboxError("The embedded sandbox needs Linux or macOS")
    missing = [name for name in ("psutil", "starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise LocalSandboxError(
            f'The embedded sandbox needs {", ".join(missing)}: pip install "pytest-tlsandbox[local]"'
        )


def _await_port(server: Popen[bytes], stderr: IO[bytes]) -> int:
    assert server.stdout is not None
    answer = b""
    if _is_readable(server.stdout, _START_SECONDS):
        answer = server.stdout.readline()
    if not answer:
        stderr.seek(0)
        told = stderr.read()[-_STDERR_TAIL:].decode(errors="replace").strip()
        raise LocalSandboxError(f"The embedded sandbox did not start\n\n{told}".strip())
    message = json.loads(answer)
    if "error" in message:
        raise LocalSandboxError(f"The embedded sandbox did not start: {message['error']}")
    return int(message["port"])


def _end(server: Popen[bytes], token: str, owner: int) -> None:
    """End the server, and what it may have left behind."""
    if os.getpid() != owner:
        return
    assert server.stdin is not None
    assert server.stdout is not None
    with suppress(BrokenPipeError):  # it may have ended already
        server.stdin.write(b"\n")
        server.stdin.close()
    # The end of its output is its own. No clock is asked: a test may have stopped it.
    while _is_readable(server.stdout, _CLOSE_SECONDS):
        if not os.read(server.stdout.fileno(), 1024):
            break
    else:
        server.kill()
    server.stdout.close()
    if server.wait() != 0:
        from pytest_tlsandbox.local import memory_cgroup, process_tree

        process_tree.kill(process_tree.survivors(token))
        memory_cgroup.remove_group_of(server.pid)


def _is_readable(stream: IO[bytes], seconds: float | None) -> bool:
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
