"""The process table: the listed rows, which row a path selects, and which rows are dropped.

The living stay, and the newest of those that have ended. What the service keeps is unknown;
the old daemon kept all of it for its life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.local.http_errors import ApiError

if TYPE_CHECKING:
    from pytest_tlsandbox.local.process import Manager, Process

KEPT_ROWS = 2000
"""Rows kept of processes that have ended; a managed one has ended when its supervisor stopped."""

KEPT_OUTPUT = 256 * 1024 * 1024
"""Bytes of output kept of all processes together. Over it, those that have ended lose theirs first,
the oldest before the others; then the longest stream loses half."""


class ProcessTable:
    """The rows, by handle, pid and name.

    Attributes:
        total: how many processes were ever started.
        named: who has a name, whether it runs or not.

    """

    def __init__(self) -> None:
        self.total = 0
        self.named: dict[str | None, Manager] = {}
        self._rows: dict[int, Process] = {}
        self._by_pid: dict[int, Process] = {}
        self._ended: dict[int, Process] = {}
        self._output = 0

    def rows(self) -> list[Process]:
        """List the rows, oldest first."""
        return list(self._rows.values())

    def find(self, pid: int) -> Process | None:
        """Find the process with that pid; the newest, if the system has used it again."""
        return self._by_pid.get(pid)

    def find_named(self, name: str) -> Process | None:
        """Find the current run of the managed process of that name, or its last one."""
        managed = self.named.get(name)
        return None if managed is None else managed.run

    def check_name(self, managed: Manager | None) -> None:
        """Raise ApiError (409) if another process has the name and has not ended."""
        holder = self.named.get(managed.name) if managed else None
        if holder and holder is not managed and not holder.has_ended:
            raise ApiError(409, f"Process '{holder.name}' already exists", "ALREADY_EXISTS")

    def add(self, process: Process) -> None:
        """Add a started process. It replaces the run before it, and who had its name before."""
        self.total += 1
        managed = process.managed
        if managed:
            for replaced in {managed, self.named.get(managed.name)}:
                if replaced and replaced.run:
                    self.remove(replaced.run)
            managed.run = process
            if managed.name:
                self.named[managed.name] = managed
        self._rows[process.handle] = self._by_pid[process.pid] = process

    def note_end(self, process: Process) -> None:
        """Count a row among those that have ended; the oldest of them may have to go."""
        self._ended[process.handle] = process
        if len(self._ended) > KEPT_ROWS:
            self.remove(next(iter(self._ended.values())))

    def remove(self, process: Process) -> None:
        """Remove a row."""
        self._output -= process.keep_no_output()
        self._rows.pop(process.handle, None)
        self._ended.pop(process.handle, None)
        if self._by_pid.get(process.pid) is process:
            del self._by_pid[process.pid]
        managed = process.managed
        if managed and managed.has_ended and self.named.get(managed.name) is managed:
            del self.named[managed.name]

    def output_changed(self, more: int) -> None:
        """Take note of output that came, or went; make room where there is too much of it."""
        self._output += more
        if self._output > KEPT_OUTPUT:
            for process in self._ended.values():
                self._output -= process.keep_no_output()
                if self._output <= KEPT_OUTPUT:
                    return
            streams = [pipe for row in self.rows() for pipe in (row.stdout, row.stderr)]
            longest = max(streams, key=lambda pipe: pipe.size)
            self._output -= longest.shrink_to(longest.size // 2)
