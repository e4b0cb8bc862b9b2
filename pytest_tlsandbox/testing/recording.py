"""What a real sandbox answered, kept in a file: for tests that need neither it nor its time.

A recording is text, one JSON value a line, and is made to be committed: secrets in it are masked.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.processes import ProcessLister
from pytest_tlsandbox.client.retry import LONGEST_CALL
from pytest_tlsandbox.errors import InvalidArgument, SandboxFault
from pytest_tlsandbox.redact import mask_args, mask_text
from pytest_tlsandbox.testing.listings import ScriptedLister

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO

    from pytest_tlsandbox.async_sandbox import AsyncSandbox
    from pytest_tlsandbox.client.transport import Answer, Transport
    from pytest_tlsandbox.sandbox import Sandbox
    from pytest_tlsandbox.testing.clock import FakeClock

_VERSION = 1
_LIST = "/processes"


@contextlib.contextmanager
def record(sandbox: Sandbox | AsyncSandbox | ProcessLister, path: str | Path) -> Iterator[None]:
    """Write what the sandbox answers meanwhile to a file: listings, output, and faults.

    Secrets are masked as in messages: the key, ``--token=``, ``://user:password@`` and the like.
    What your programs print is in it: read a recording before you commit it.

    Raises:
        OSError: the file cannot be written.

    """
    held: Any = getattr(sandbox, "_sandbox", sandbox)  # an AsyncSandbox holds a Sandbox
    lister = held if isinstance(held, ProcessLister) else held._client  # noqa: SLF001
    wire = lister._transport  # noqa: SLF001
    with Path(path).open("w", encoding="utf-8") as file:
        lister._transport = cast("Transport", _Recorder(wire, file))  # noqa: SLF001
        try:
            yield
        finally:
            lister._transport = wire  # noqa: SLF001


def replay(path: str | Path, *, clock: FakeClock | None = None) -> ScriptedLister:
    """Give a lister that answers as was recorded, at the same seconds after its first look.

    ``Sandbox(replay("crash.jsonl"))`` is a sandbox of it. Its clock is a ``FakeClock``: a minute
    that was recorded passes at once.

    Raises:
        InvalidArgument: the file is no recording.
        OSError: it cannot be read.

    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    try:
        head, *entries = map(json.loads, lines)
        if head["tlsandbox_recording"] != _VERSION:
            raise ValueError
        answers: dict[str, dict[float, Any]] = {}
        for entry in entries:
            answers.setdefault(entry["path"], {})[entry["at"]] = _answer_of(entry)
        listings = answers.pop(_LIST)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidArgument(
            f"expected a recording with a listing, as record(sandbox, path) writes it, got {path}"
        ) from None
    lister = ScriptedLister(listings, clock=clock, label=head["sandbox"])
    lister._outputs.update(answers)  # noqa: SLF001
    return lister


def _answer_of(entry: Mapping[str, Any]) -> Any:
    if "fault" in entry:
        fault = dict(entry["fault"])
        kind = getattr(errors, fault.pop("error"))
        return kind(fault.pop("text"), **fault)
    if "text" in entry:
        return entry["text"].encode()
    body = entry["body"]
    return body if isinstance(body, dict) else json.dumps(body).encode()


class _Recorder:
    """A transport that notes what passes through it."""

    def __init__(self, wire: Transport, file: IO[str]) -> None:
        self._wire = wire
        self._file = file
        self._start: float | None = None
        self._last: dict[str, dict[str, Any]] = {}
        self._write({"tlsandbox_recording": _VERSION, "sandbox": mask_text(wire.address.label)})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def request(
        self,
        method: str,
        path: str,
        *,
        limit: float = LONGEST_CALL,
        json: Mapping[str, object] | None = None,
    ) -> Answer:
        begun = self._wire.clock.monotonic()
        self._start = begun if self._start is None else self._start
        at = round(begun - self._start, 6)
        try:
            answer = self._wire.request(method, path, limit=limit, json=json)
        except SandboxFault as fault:
            if method == "GET":
                self._note(at, path, {"fault": _plain(fault)})
            raise
        if method == "GET":
            self._note(at, path, _masked_body(answer.body))
        return answer

    def _note(self, at: float, path: str, answer: dict[str, Any]) -> None:
        if self._last.get(path) != answer:  # what is as before holds on
            self._last[path] = answer
            self._write({"at": at, "path": path, **answer})

    def _write(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _plain(fault: SandboxFault) -> dict[str, Any]:
    return {
        "error": type(fault).__name__,
        "text": mask_text(str(fault)),
        "label": fault.label,
        "transient": fault.transient,
        "retry_after": fault.retry_after,
        "delivered": fault.delivered,
    }


def _masked_body(body: bytes) -> dict[str, Any]:
    try:
        return {"body": _masked(json.loads(body))}
    except (ValueError, RecursionError):
        return {"text": mask_text(body.decode(errors="replace"))}


def _masked(value: Any, name: str = "") -> Any:
    """Mask every text in a body. A name can say that its value is a secret: "API_KEY"."""
    if isinstance(value, dict):
        return {key: _masked(item, key) for key, item in value.items()}
    if isinstance(value, list):
        if name == "args" and all(isinstance(item, str) for item in value):
            return mask_args(value)
        return [_masked(item, name) for item in value]
    if isinstance(value, str):
        return mask_args([f"{name}={value}"])[0].removeprefix(f"{name}=")
    return value
