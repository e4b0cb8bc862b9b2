"""Stream server-sent events about the start, the output and the end of a process."""

from collections.abc import AsyncIterator
from typing import Any

from pytest_tlsandbox.local.asgi import to_json
from pytest_tlsandbox.local.process import Process, is_set_within, now_ms

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
    async for events in _line_events(process, stream, b"event: output\n", replayed_at=0):
        yield events
    yield END_OF_STREAM


async def run_frames(process: Process) -> AsyncIterator[bytes]:
    """Yield events for the start, the lines of output and the end of a process."""
    yield _data({"handle": process.handle, "pid": process.pid, "started_at": process.started_at})
    async for events in _line_events(process, "output", b"", now_ms()):
        yield events
    end = {"exit_code": process.exit_code} if process.signal is None else {"signal": process.signal}
    reason = "timed_out" if process.timed_out else process.status
    yield _data({**end, "oom_killed": process.oom_killed, "reason": reason})


async def _line_events(
    process: Process, stream: str, prefix: bytes, replayed_at: int
) -> AsyncIterator[bytes]:
    """Yield batches of events for lines until the process ends.

    If there is no line at first, or nothing has changed for 15 s, yield a comment.

    Args:
        process: the process.
        stream: "stdout", "stderr" or "output".
        prefix: the bytes that precede the data of each event.
        replayed_at: the timestamp of the past lines.

    """
    outputs = process.outputs(stream)
    positions = dict.fromkeys(outputs, 0)
    timestamp, is_due = replayed_at, True
    while True:
        change = process.changes.next
        has_ended = not process.is_running
        events = []
        for name, output in outputs.items():
            lines, positions[name] = output.lines_from(positions[name], with_rest=has_ended)
            source = {"stream": name} if stream == "output" else {}
            fields = {"timestamp": timestamp, **source}
            events += [prefix + _data({"line": line, **fields}) for line in lines]
        if events or is_due:
            yield b"".join(events) or _KEEP_ALIVE
        if has_ended:
            return
        is_due = not await is_set_within(change, _KEEP_ALIVE_SECONDS)
        timestamp = now_ms()


def _data(fields: dict[str, Any]) -> bytes:
    return b"data: " + to_json(fields) + b"\n\n"
