"""Start the processes of a test, read their output, and kill them when the test ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_tlsandbox import arguments, errors
from pytest_tlsandbox.client.api import SandboxClient, has_ended
from pytest_tlsandbox.formatting.processes import short_name
from pytest_tlsandbox.formatting.text import shorten
from pytest_tlsandbox.history.runs import STOPS
from pytest_tlsandbox.history.snapshot import newest_with_pid
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.redact import mask_args, mask_text
from pytest_tlsandbox.types import SIGKILL, Stream
from pytest_tlsandbox.waiting.conditions.process_list import Until
from pytest_tlsandbox.waiting.polling import Wait
from pytest_tlsandbox.waiting.results import CORRECTION_TIME
from pytest_tlsandbox.waiting.selectors import Selector, living_of

_NOT_KNOWN_WHETHER_STARTED = (errors.SandboxUnreachable, errors.ContractViolation)
_TERMINATED = (errors.SandboxNotFound, errors.SandboxNotRunning)
_LONGEST_ARGUMENT = 2**17 - 1
"""Maximum size in bytes of an argument or an environment variable in Linux (MAX_ARG_STRLEN)."""

_LONGEST_FAREWELL = 3.0
"""Maximum seconds to list the processes that a test left running, and to wait until they end."""
_BETWEEN_READINGS = 0.05
"""Seconds between two readings of the output of an ended process."""


def start_body(command: object, args: object, options: Mapping[str, object]) -> dict[str, Any]:
    """Return the body of a start request.

    Args:
        command: the program.
        args: the arguments of the program.
        options: the other options of ``Sandbox.start_process``. An option that is None is left out.

    Returns:
        The body of the request.

    Raises:
        InvalidArgument: an argument has the wrong type or value, for which the sandbox would reject
            the request.

    """
    if isinstance(command, (list, tuple)) and command:
        program, *rest = mask_args([*map(str, command)])
        raise errors.InvalidArgument(
            f"argument 'command' must be text, got a {type(command).__name__}; write command={program!r}"
            + (f", args={rest}" if rest else "")
        )
    arguments.check_text("command", command)
    if not command:
        raise errors.InvalidArgument("argument 'command' must not be empty")
    if isinstance(args, str) or not isinstance(args, Iterable):
        raise errors.InvalidArgument(arguments.must_be("args", "a list of strings", args))
    texts = [*args]
    for position, arg in enumerate(texts):
        arguments.check_text(f"args[{position}]", arg)
    arguments.check_options(options)
    body: dict[str, Any] = {"command": command, "args": texts}
    for name, value in options.items():
        if value is not None:
            body[name] = dict(value) if isinstance(value, Mapping) else value
    return body


def start(client: SandboxClient, started: list[ProcessInfo], body: dict[str, Any]) -> ProcessInfo:
    """Start a process, and record the start.

    Args:
        client: the client of the sandbox.
        started: the list to which the process is added, so that it can be killed later.
        body: the body of the start request.

    Returns:
        The process.

    Raises:
        InfrastructureError: the sandbox did not send a valid response. The message names the
            program, and says whether the program may have started.
        RequestRefused: the sandbox ignored the options that make a process managed.

    """
    program = repr(shorten(mask_text(body["command"]), 60))
    try:
        process = client.start(body)
    except errors.InfrastructureError as fault:
        text = f"Cannot start {program}: {_explained(fault, body)}"
        if fault.delivered and isinstance(fault, _NOT_KNOWN_WHETHER_STARTED):
            hint = "if it was, list_processes() shows it"
            text = f"Not known whether {program} was started: {fault}; {hint}"
        fault.args = (text,)
        raise
    client.history.note_start(process)
    started.append(process)
    # Older daemons ignore unknown keys (api-notes, "Managed processes").
    ignored = [f"{key}=" for key in ("name", "restart", "health_check") if key in body]
    if ignored and process.managed is None:
        raise errors.RequestRefused(
            f"{program} is not managed: {client.label} does not support managed processes and "
            f"ignored {', '.join(ignored)}\n"
            f"the program is still running, as pid {process.pid}; the plugin will kill it at teardown, "
            "with everything else that this fixture started",
            label="not managed",
        )
    return process


def read_output(row: ProcessInfo, client: SandboxClient, *streams: Stream) -> list[list[str]]:
    """Return the lines that a process has written to each stream so far.

    Some sandboxes list a process as ended before they have stored its last output.
    For this reason, this function reads the output of an ended process repeatedly until the output
    no longer changes. These repeated reads take at most 1 s in total.
    """
    clock = client.clock
    end, wait_deadline = clock.monotonic() + CORRECTION_TIME, client.wait_deadline()
    end = end if wait_deadline is None else min(end, wait_deadline)
    lines = [client.output(row.pid, stream) for stream in streams]
    while row.ended and clock.monotonic() + _BETWEEN_READINGS <= end:
        clock.sleep(_BETWEEN_READINGS)
        before, lines = lines, [client.output(row.pid, stream) for stream in streams]
        if lines == before:
            break
    return lines


def _explained(refusal: errors.InfrastructureError, body: Mapping[str, Any]) -> str:
    """Return the probable cause of a refusal, followed by the answer of the sandbox.

    The answer alone does not name the cause.
    """
    if "Failed to spawn" not in str(refusal):
        return str(refusal)
    texts = [*body["args"], *(f"{key}={value}" for key, value in body.get("env", {}).items())]
    if any(len(text.encode()) > _LONGEST_ARGUMENT for text in texts):
        return (
            f"an argument or variable is longer than the {_LONGEST_ARGUMENT:,} bytes that Linux "
            f"accepts, so pass the text in a file ({refusal})"
        )
    if " " in body["command"] and not body["args"]:
        program, *args = mask_args(body["command"].split())
        call = f"start_process({program!r}, args={args})"
        return f"no program has that name ({refusal})\n\n  hint  check the spelling of {program!r}, and separate the arguments:\n        {call}"
    folder = mask_text(body.get("working_dir", ""))
    or_folder = f", or no folder {folder!r}" if folder else ""
    return f"no such program on PATH{or_folder} ({refusal})"


def kill(row: ProcessInfo, client: SandboxClient) -> None:
    """Kill a process, or stop a managed process's supervisor, and record the action."""
    if row.ended and row.managed is None:
        return  # another process may have its pid
    signals = {SIGKILL} if row.managed is None else STOPS
    forget = client.history.note_signals(row, *signals)
    if not client.kill(row):
        forget()


def send_signal(row: ProcessInfo, client: SandboxClient, number: int, *more: int) -> None:
    """Send a signal to a process, and record the signal.

    Args:
        row: the process.
        client: the client of the sandbox.
        number: the number of the signal.
        more: other signals that count as sent, because the caller wants the process to end.

    Raises:
        RequestRefused: the process has ended, or the sandbox does not know it.

    """
    newest = newest_with_pid(client.history.last, row.pid)
    if row.ended and newest is not None and not newest.ended:
        name = short_name(row)
        text = f"Signal not sent: {name} has ended, and another process has pid {row.pid} now"
        raise errors.RequestRefused(text, label="ended")
    forget = client.history.note_signals(row, number, *more)
    try:
        client.signal(row, number)
    except errors.RequestRefused:
        forget()
        raise


def stop(row: ProcessInfo, client: SandboxClient, number: int) -> None:
    """Send SIGTERM or SIGKILL to stop a process, unless the process has already ended.

    Args:
        row: the process.
        client: the client of the sandbox.
        number: the number of the signal.

    Raises:
        RequestRefused: the sandbox rejected the signal, but not because the process has ended.

    """
    try:
        send_signal(row, client, number, *STOPS)
    except errors.RequestRefused as refusal:
        if not has_ended(refusal):
            raise


def kill_and_wait(started: Sequence[ProcessInfo], client: SandboxClient) -> list[ProcessInfo]:
    """Kill the running processes, and wait up to 3 s for the sandbox to list them as ended.

    Args:
        started: the processes.
        client: the client of the sandbox.

    Returns:
        The processes that are still running afterwards. If the sandbox does not answer, the list
        contains the processes that may still be running.

    """
    # Select by object, because a pid may belong to another process by now.
    selectors = [Selector(process, client.history) for process in started]
    try:
        living = living_of(selectors, client.list(patience=_LONGEST_FAREWELL))
    except errors.InfrastructureError as fault:
        # If the connection is refused, the server is gone, and no process is left to kill.
        return [] if is_terminated(fault) or fault.label == "refused" else list(started)
    for row in living:
        with contextlib.suppress(errors.InfrastructureError):  # the caller reports failed kills
            kill(row, client)
    if not living:
        return []
    ended = Until(lambda snapshot: not living_of(selectors, snapshot))
    last = Wait(ended, client, _LONGEST_FAREWELL, may_be_cut=False).run().timeline.last
    return living if last is None else living_of(selectors, last)


def is_terminated(fault: errors.InfrastructureError) -> bool:
    """Return whether an error means that the sandbox was terminated.

    A suspended sandbox does not count as terminated, because it keeps its processes.
    """
    return isinstance(fault, _TERMINATED) and not fault.transient
