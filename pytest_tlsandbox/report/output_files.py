"""The pytest plugin that keeps the output of the processes that a failed test started.

The plugin is registered when the session first uses a sandbox. With xdist, each worker writes the
files of its own tests, and the controller removes the files of an earlier session.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.connections import Connections
from pytest_tlsandbox.errors import InfrastructureError
from pytest_tlsandbox.formatting.processes import short_name
from pytest_tlsandbox.formatting.text import count, printable
from pytest_tlsandbox.history.runs import Generation, Run
from pytest_tlsandbox.history.snapshot import newest_with_pid
from pytest_tlsandbox.integration.pytest_html import add_extra, link_to
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.settings import FACTS, Settings
from pytest_tlsandbox.types import Stream

_FIRST_LINE = "Output that pytest-tlsandbox kept for a failed test"
"""The first line of each file, by which a later session recognizes the file."""
_LONGEST = 10.0
"""The maximum time in seconds for reading and masking output after a failure."""
_SETTLING = 0.1
"""Seconds after which a sandbox has stored the last output of a process that has ended."""
_LONGEST_NAME = 150
_LATE = "because the time limit after a failure had been reached"
_STREAMS: tuple[Stream, ...] = ("stdout", "stderr")


class OutputFiles:
    """Writes the output of each process that a failed test started to a file.

    Args:
        config: the configuration of pytest.
        settings: the settings of the session, which contain the folder of the files.
        connections: the connections of the session.

    """

    def __init__(self, config: pytest.Config, settings: Settings, connections: Connections) -> None:
        self._config, self._connections = config, connections
        self._folder, self._report = settings.output or Path(), settings.report or Path()
        self._known: set[Generation] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Ignore the processes that earlier tests started."""
        self._known = {run.generation for _, run in self._connections.started_runs()}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Write the files after all other plugins' hooks, because a hook may fail the test."""
        report = yield
        if not report.failed:
            return report
        files: list[Path] = []
        problems: list[str] = []
        try:
            files += self._write_files(item.nodeid)
        except OSError as error:
            problems.append(f"{self._folder} cannot be written: {error.strerror}")
        for path in files:
            add_extra(self._config, report, "url", link_to(self._config, path), path.name)
        if files or problems:
            report.sections.append(("complete output", "\n".join([*map(str, files), *problems])))
            links = [os.path.relpath(path, self._report.parent) for path in files]
            setattr(report, FACTS, {**getattr(report, FACTS, {}), "output_files": links})
        return report

    def _write_files(self, test: str) -> Iterator[Path]:
        """Write a file for each run of each process that the test started since the last call."""
        deadline = Clock.monotonic() + _LONGEST
        runs = [
            (client, run, run.row)
            for client, started in self._connections.started_runs()
            if started.generation not in self._known
            for run in started.generation.runs
            if run.row is not None
        ]
        self._known |= {run.generation for _, run, _ in runs}
        if runs:
            Clock.sleep(_SETTLING)
        for client, run, row in runs:
            with self._create(mask_text(test), row) as file:
                command = f"{printable(row.masked_command_line)} (pid {row.pid} in {client.label})"
                file.write(f"{_FIRST_LINE}\ntest: {mask_text(test)}\nprocess: {command}\n")
                for stream in _STREAMS:
                    file.writelines(_output(run, row, stream, client, deadline))
            yield Path(file.name)

    def _create(self, test: str, row: ProcessInfo) -> TextIO:
        """Create a file with a name that no other test, worker or user has used."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # Replace unsafe characters, because a test id may contain any text.
        safe = (re.sub(r"[^A-Za-z0-9_.=-]+", "-", text) for text in (test, short_name(row)))
        name = "-".join([*(text.strip("-.")[:_LONGEST_NAME] for text in safe), str(row.pid)])
        path, number = self._folder / f"{name}.log", 1
        while True:
            with contextlib.suppress(FileExistsError):
                return path.open("x", encoding="utf-8", errors="backslashreplace")
            number += 1
            path = self._folder / f"{name}-{number}.log"


def _output(
    run: Run, row: ProcessInfo, stream: Stream, client: SandboxClient, deadline: float
) -> Iterator[str]:
    """Yield a title, and then the lines of a stream.

    If output is missing, the title or the last line says why.
    """
    newest = newest_with_pid(client.history.last, row.pid)
    left = deadline - Clock.monotonic()
    lines: list[str] = []
    if run.gone or (newest and not newest.identity.same_run(row.identity)):
        title = "is not available, because the sandbox no longer lists this process"
    elif left <= 0:
        title = f"was not read, {_LATE}"
    else:
        try:
            lines = client.output(row.pid, stream, limit=left)
            title = f"has {count(len(lines), 'line')}"
        except InfrastructureError as error:
            title = f"could not be read: {mask_text(error.first_line)}"
    yield f"--- {stream} {title}\n"
    for number, line in enumerate(lines):
        if Clock.monotonic() > deadline:  # masking takes up to 1 s for a megabyte
            yield f"--- {count(len(lines) - number, 'more line')} left out, {_LATE}\n"
            break
        yield mask_text(line) + "\n"


def remove_old_files(folder: Path) -> None:
    """Remove the files of an earlier session, but no other files."""
    for path in folder.glob("*.log"):
        with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
            if file.readline(len(_FIRST_LINE)) == _FIRST_LINE:
                path.unlink()
