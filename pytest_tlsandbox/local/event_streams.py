"""Stream server-sent events about the start, the output and the end of a process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

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
        timestamp = 0 if is_replay else now_ms()
        events = []
        for source, line in lines:
            more = {"stream": source} if stream == "output" else {}
            event = _data({"line": line, "timestamp": timestamp, **more})
            events.append(b"event: output\n" + event)
        yield b"".join(events) or _KEEP_ALIVE
        is_replay = False
    yield END_OF_STREAM


async def run_frames(process: Process) -> AsyncIterator[bytes]:
    """Yield events for the start, the lines of output and the end of a process."""
    start = {"handle": process.handle, "pid": process.pid, "started_at": process.started_at}
    yield _data(start)
    async for lines in _lines_until_the_end(process, "output"):
        now = now_ms()
        frames = [_data({"line": line, "timestamp": now, "stream": name}) for name, line in lines]
        yield b"".join(frames) or _KEEP_ALIVE
    yield _data(_describe_end(process))


async def _lines_until_the_end(
    process: Process, stream: str
) -> AsyncIterator[list[tuple[str, str]]]:
    """Yield batches of new lines, each with the name of its stream, until the process ends.

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
            found += [(name, line) for line in lines]
        if found or is_due:
            yield found
        if has_ended:
            return
        is_due = not await is_set_within(change, _KEEP_ALIVE_SECONDS)


def _describe_end(process: Process) -> dict[str, Any]:
    has_exited = process.status == "exited"
    timed_out = process.timed_out and process.killed_here
    return {
        **({"exit_code": process.exit_code} if has_exited else {"signal": process.signal}),
        "oom_killed": process.oom_killed,
        "reason": "timed_out" if timed_out else process.status,
    }


def _data(fields: dict[str, Any]) -> bytes:
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode() + b"\n\n"
