"""A fake sandbox that lists the processes of a script, for tests of your own helpers.

::

    def test_my_helper_tells_which_worker_died():
        workers = ScriptedLister(
            {
                0: [row(41, args=["worker.py"]), row(42, args=["worker.py"])],
                8: [row(41, args=["worker.py"]), row(42, args=["worker.py"], status="oom_killed")],
            }
        )
        with pytest.raises(ProcessOOMKilled, match="pid 42"):
            my_helper(Sandbox(workers))      # takes no time, not 8 seconds
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias

from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.response_bodies import json_object
from pytest_tlsandbox.client.transport import Answer
from pytest_tlsandbox.errors import InfrastructureError, RequestRefused
from pytest_tlsandbox.testing.clock import FakeClock
from pytest_tlsandbox.types import Stream

Row: TypeAlias = "Mapping[str, Any]"
"""A process as the sandbox sends it."""

Listing: TypeAlias = "Iterable[Row] | Mapping[str, Any] | bytes | InfrastructureError"
"""The result of a list call: rows, a complete body, or an error to raise."""

STARTED_AT = 1_710_000_000_000
"""The default start time of a row: 2024-03-09 16:00:00 UTC, in milliseconds since 1970."""


def row(
    pid: int = 41, command: str = "python", args: Sequence[str] = ("train.py",), **fields: Any
) -> dict[str, Any]:
    """Return a row of the process list in the API's format, by default with the status "running".

    Example: ``row(42, status="exited", exit_code=1)``

    Args:
        pid: the process id, which is also used as the handle.
        command: the program.
        args: the arguments of the program.
        fields: additional fields of the row, or values that replace the defaults. Times are in
            milliseconds since 1970. Unknown fields are sent unchanged. Values that have the wrong
            type are also sent unchanged.

    Returns:
        The row, for the script of a ``ScriptedLister``.

    """
    return {
        "handle": pid,
        "pid": pid,
        "status": "running",
        "exit_code": None,
        "signal": None,
        "stdin_writable": False,
        "command": command,
        "args": list(args) if isinstance(args, tuple) else args,
        "started_at": STARTED_AT,
        "ended_at": None,
        **fields,
    }


class ScriptedLister(SandboxClient):
    """Lists the processes of a script; ``Sandbox(lister)`` creates a sandbox with these processes.

    A start request advances the clock until the script lists a process with the requested command
    and arguments. If the script lists no matching process now or later, the request raises
    ``RequestRefused``. Signals and kills have no effect, except that they appear in ``requests``.
    Every port accepts connections, so ``wait_for_port`` waits only until the process runs.

    Args:
        script: a mapping from times, in seconds since the creation of the lister, to the results of
            list calls from that time on, each of which is a list of rows (:func:`row`), a complete
            body (a dict or bytes), or an ``InfrastructureError`` to raise; the first entry also
            applies before its time.
        clock: the clock of all waits; None creates a :class:`FakeClock`, so that waits take no
            time.
        latency: the duration of a list call on the clock, in seconds.
        output: a mapping from each pid to the lines of its streams, as in ``{41: {"stderr": ["no
            memory"]}}``.
        label: the name of the sandbox in messages.

    Attributes:
        polls: the time of each list call, in seconds since the creation of the lister.
        requests: the method and path of each request, in order.

    """

    clock: FakeClock

    def __init__(
        self,
        script: Mapping[float, Listing],
        *,
        clock: FakeClock | None = None,
        latency: float = 0.0,
        output: Mapping[int, Mapping[Stream, Sequence[str]]] | None = None,
        label: str = "my-sandbox",
    ) -> None:
        address = Address(label, "script:")
        transport: Any = SimpleNamespace(
            clock=clock or FakeClock(), address=address, request=self._request, close=lambda: None
        )
        super().__init__(transport)
        self.polls: list[float] = []
        self.requests: list[str] = []
        self._start = self.clock.monotonic()
        self._script = script or {0.0: []}
        self._latency = latency
        self._outputs: dict[str, list[str]] = {}
        for pid, streams in (output or {}).items():
            both = [*streams.get("stdout", ()), *streams.get("stderr", ())]
            for stream, lines in {"output": both, **streams}.items():
                self._outputs[f"/processes/{pid}/{stream}"] = [*lines]

    def notice_end(self, pid: int, limit: float, wake: Callable[[], None]) -> None:
        """Do nothing, because a script has no stream.

        A wait for a scripted process must poll to find out whether the process has ended.

        Args:
            pid: the process id, which is ignored.
            limit: the duration in seconds, which is ignored.
            wake: the function to call, which is ignored.

        """

    def _request(self, method: str, path: str, *, limit: float, **sent: Any) -> Answer:
        at = self.clock.monotonic() - self._start
        self.requests.append(f"{method} {path}")
        body, document = b"", sent.get("json") or {}
        if self.requests[-1] == "GET /processes":
            self.polls.append(round(at, 6))
            self.clock.now += min(self._latency, limit)
            body = _body(self._script[self._entry_at(at)])
        elif method == "GET":
            body = _body({"lines": self._outputs.get(path, [])})
        elif "command" in document:
            body = _body(self._started(document, at))
        # Every port of a script accepts connections.
        return Answer(101 if "upgrade" in sent else 200, body, announced=True)

    def _entry_at(self, at: float) -> float:
        """Return the time at which the current entry of the script began.

        The first entry also applies to all earlier times.
        """
        return max((time for time in self._script if time <= at + 1e-9), default=min(self._script))

    def _started(self, sent: Mapping[str, Any], at: float) -> Row:
        wanted = _command_line(sent)
        for time in sorted(time for time in self._script if time >= self._entry_at(at)):
            listing = self._script[time]
            is_error = isinstance(listing, InfrastructureError)
            for listed in () if is_error else json_object(_body(listing)).get("processes", ()):
                if isinstance(listed, dict) and _command_line(listed) == wanted:
                    self.clock.now = max(self.clock.now, self._start + time)
                    return listed
        raise RequestRefused(
            f"the script of {self.label} lists no process with this command line after +{at:.3g} s",
            label="not in the script",
        )


def _body(answer: Listing) -> bytes:
    if isinstance(answer, InfrastructureError):
        raise answer.with_traceback(None)
    if isinstance(answer, bytes):
        return answer
    return json.dumps(answer if isinstance(answer, dict) else {"processes": [*answer]}).encode()


def _command_line(row: Mapping[str, Any]) -> list[str]:
    return [str(row.get("command")), *(row.get("args") or ())]
