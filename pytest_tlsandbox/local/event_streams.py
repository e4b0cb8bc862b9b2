"""Stream server-sent events about the start, the output and the end of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.local.asgi import to_json
from pytest_tlsandbox.local.process import Process, is_set_within, now_ms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

END_OF_STREAM = b"event: eof\ndata: {}\n\n"

_KEEP_ALIVE = b":\n\n"
_KEEP_ALIVE_SECONDS = 15.0


async def follow(process: Process, stream: str) -> AsyncIterator[bytes]:
    """Yield events for past lines of output, and then for new lines until the process ends.

    As in the daemon, past lines have the timestamp 0 (api-notes, "Calls").

    Args:
        process: the process.
        stream: "stdout", "stderr" or "output". If ``stream`` is "output", the events contain both
            streams, and each event names its stream.

    """
    is_replay = True
    async for lines in _lines_until_the_end(process, stream):
        yield _events(lines, 0 if is_replay else now_ms(), b"event: output\n")
        is_replay = False
    yield END_OF_STREAM


async def run_frames(process: Process) -> AsyncIterator[bytes]:
    """Yield events for the start, the lines of output and the end of a process."""
    yield _data({"handle": process.handle, "pid": process.pid, "started_at": process.started_at})
    async for lines in _lines_until_the_end(process, "output"):
        yield _events(lines, now_ms())
    has_exited = process.status == "exited"
    end = {"exit_code": process.exit_code} if has_exited else {"signal": process.signal}
    reason = "timed_out" if process.timed_out else process.status
    yield _data({**end, "oom_killed": process.oom_killed, "reason": reason})


async def _lines_until_the_end(
    process: Process, stream: str
) -> AsyncIterator[list[dict[str, str]]]:
    """Yield batches of new lines until the process ends.

    The first batch may be empty. Whenever nothing has changed for 15 s, the function yields an
    empty batch.
    """
    outputs = process.outputs(stream)
    positions = dict.fromkeys(outputs, 0)
    is_due = True
    while True:
        change = process.changes.next
        has_ended = not process.is_running
        found = []
        for name, output in outputs.items():
            lines, positions[name] = output.lines_from(positions[name], with_rest=has_ended)
            source = {"stream": name} if stream == "output" else {}
            found += [{"line": line, **source} for line in lines]
        if found or is_due:
            yield found
        if has_ended:
            return
        is_due = not await is_set_within(change, _KEEP_ALIVE_SECONDS)


def _events(lines: list[dict[str, str]], timestamp: int, prefix: bytes = b"") -> bytes:
    events = [prefix + _data({**line, "timestamp": timestamp}) for line in lines]
    return b"".join(events) or _KEEP_ALIVE


def _data(fields: dict[str, Any]) -> bytes:
    return b"data: " + to_json(fields) + b"\n\n"
