"""Start and end the embedded sandbox, which is a child process of the tests.

The child process imports the packages that the extra ``local`` installs. If the child process exits
with an error, this module imports ``psutil``, which is one of these packages.
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

# Imported by name, because a test may patch subprocess.Popen before the first sandbox starts.
from subprocess import PIPE, Popen
from typing import IO, TYPE_CHECKING, Any, final

from pytest_tlsandbox.errors import LocalSandboxError
from pytest_tlsandbox.local.environment import WRITABLE, environment_without_secrets
from pytest_tlsandbox.redact import Secret

if TYPE_CHECKING:
    from pytest_tlsandbox.local.memory_limit import Mechanism

_START_SECONDS = 20.0
# Longer than the 3 s that the child allows itself.
_CLOSE_SECONDS = 5.0

# The child imports this package and the extra from the same places as this process, however they
# are installed. The standard library comes first, so that no test module can replace a part of it.
_BOOTSTRAP = """
import json, sys
settings = json.loads(sys.stdin.buffer.raw.readline())
sys.path += [p for p in settings["sys_path"] if p not in sys.path]
from pytest_tlsandbox.local.server_process import main
main(settings)
"""


@final
class LocalSandbox:
    """A running embedded sandbox.

    The sandbox ends when ``close()`` is called, when its ``with`` block ends, or when the process
    that started the sandbox ends.

    Attributes:
        url: the address, ``http://127.0.0.1:<port>``.
        api_key: the key that each request must contain as a bearer token.
        identifier: the id of the sandbox; a request for another id gets a 404.
        memory_limit: the memory limit for all processes together, in bytes; None for no limit.
        pid: the pid of the server.

    """

    def __init__(self, server: Popen[bytes], settings: dict[str, Any], api_key: Secret) -> None:
        self.url = f"http://127.0.0.1:{settings['port']}"
        self.api_key = api_key
        self.identifier: str = settings["identifier"]
        self.memory_limit: int | None = settings["memory_limit"]
        self.pid = server.pid
        self._server = server
        # Runs once: in close(), when nobody refers to the object, or when the interpreter exits.
        self._finalizer = weakref.finalize(self, _end, server, settings["token"], os.getpid())

    def close(self) -> None:
        """Kill all processes of the sandbox, and end the server, within a few seconds.

        A second call has no effect. Only the process that started the sandbox can close the
        sandbox. In a forked process, the call has no effect.
        """
        self._finalizer()

    def wait(self) -> None:
        """Wait until the server exits by itself."""
        self._server.wait()

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
    """Start an embedded sandbox in a child process.

    Args:
        memory_limit: the memory limit for all processes together, in bytes; None for no limit.
        identifier: the id of the sandbox; a request for another id gets a 404.
        mechanism: the mechanism that limits the memory, "cgroup v1", "cgroup v2" or "watchdog";
            None for the best mechanism that works on this machine.
        port: the port on 127.0.0.1; 0 for any free port.

    Returns:
        The running sandbox.

    Raises:
        LocalSandboxError: the extra ``local`` is not installed, the limit is not above 0, or the
            server does not start.

    """
    _check_requirements()
    if memory_limit is not None and memory_limit <= 0:
        raise LocalSandboxError(f"argument 'memory_limit' must be > 0 bytes, got {memory_limit}")
    # Hidden, because pytest's -l shows the local variables of a traceback.
    api_key = Secret(secrets.token_urlsafe(32))
    settings: dict[str, Any] = {
        "identifier": identifier,
        "memory_limit": memory_limit,
        "mechanism": mechanism,
        "port": port,
        "token": secrets.token_hex(8),
        "writable": os.environ.get(WRITABLE, "").split(os.pathsep),
        "sys_path": [*map(os.path.abspath, sys.path), str(Path(__file__).parents[2])],
    }
    with tempfile.TemporaryFile() as stderr:
        server = Popen(
            # Isolated and without ``site``, so that settings of the tests' interpreter (PYTHON*
            # variables, coverage's .pth file, sitecustomize) do not reach the sandbox.
            [sys.executable, "-I", "-S", "-W", "ignore", "-X", "utf8", "-c", _BOOTSTRAP],
            stdin=PIPE,
            stdout=PIPE,
            stderr=stderr,
            env=environment_without_secrets(),
            # Ctrl-C in the terminal must reach the tests only; the sandbox ends with them.
            start_new_session=True,
        )
        try:
            assert server.stdin is not None
            with suppress(BrokenPipeError):  # it has exited; its stderr says why
                # No variable holds the plain key, because a traceback may show it.
                server.stdin.write(
                    json.dumps({**settings, "api_key": api_key.reveal()}).encode() + b"\n"
                )
                server.stdin.flush()
            settings["port"] = _await_port(server, stderr)
        except BaseException:
            _end(server, settings["token"], os.getpid())
            raise
    return LocalSandbox(server, settings, api_key)


def _check_requirements() -> None:
    if not hasattr(select, "poll"):  # Windows
        raise LocalSandboxError("The embedded sandbox requires Linux or macOS")
    packages = ("httptools", "psutil", "uvicorn", "wsproto")
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise LocalSandboxError(
            f"The embedded sandbox requires {', '.join(missing)}; run pip install 'pytest-tlsandbox[local]'"
        )


def _await_port(server: Popen[bytes], stderr: IO[bytes]) -> int:
    assert server.stdout is not None
    answered = _has_event(server.stdout, select.POLLIN, _START_SECONDS)
    answer = server.stdout.readline() if answered else b""
    if not answer:
        stderr.seek(0)
        reason = stderr.read().decode(errors="replace").strip() or "no answer"
        raise LocalSandboxError(f"The embedded sandbox did not start: {reason}")
    return int(answer)


def _end(server: Popen[bytes], token: str, owner: int) -> None:
    """End the server. If the server does not exit properly, kill the remaining processes."""
    if os.getpid() != owner:
        return
    assert server.stdin is not None
    assert server.stdout is not None
    with suppress(BrokenPipeError):  # it may have exited
        server.stdin.write(b"\n")
        server.stdin.close()
    # The server has exited when nobody can write to its output any more.
    if not _has_event(server.stdout, select.POLLHUP, _CLOSE_SECONDS):
        server.kill()
    server.stdout.close()
    if server.wait() != 0:
        from pytest_tlsandbox.local import memory_cgroup, process_tree

        process_tree.kill(process_tree.survivors(token))
        memory_cgroup.remove_group_of(server.pid)


def _has_event(stream: IO[bytes], event: int, seconds: float) -> bool:
    polled = select.poll()  # it does not read the clock, because a test may have frozen it
    polled.register(stream, event)
    return bool(polled.poll(seconds * 1000))
