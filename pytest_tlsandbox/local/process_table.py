"""Decide which rows are listed, which row a path selects, and which rows are dropped.

The table keeps the rows of running processes, and the newest rows of ended processes. It is not
known how long the production service keeps rows. The old daemon, which is open source, keeps all
rows (api-notes, "Rows").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.local.http_errors import ApiError

if TYPE_CHECKING:
    from pytest_tlsandbox.local.process import Manager, Process

KEPT_ROWS = 2000
"""Maximum number of ended processes whose rows are kept."""

KEPT_OUTPUT = 256 * 1024 * 1024
"""Maximum bytes of output to keep of all processes together.

Above this limit, the table first discards the output of ended processes, the oldest processes
first. Then the table discards half of the output of the longest stream.
"""


class ProcessTable:
    """The rows of processes, indexed by handle, pid and name.

    Attributes:
        total: the number of processes that have been started so far.
        named: the managed processes with a name, running or not.

    """

    def __init__(self) -> None:
        self.total = 0
        self.named: dict[str | None, Manager] = {}
        self._rows: dict[int, Process] = {}
        self._by_pid: dict[int, Process] = {}
        self._ended: dict[int, Process] = {}
        self._output = 0

    def rows(self) -> list[Process]:
        """Return the rows, oldest first."""
        return list(self._rows.values())

    def find(self, pid: int) -> Process | None:
        """Return the newest process with this pid, or None."""
        return self._by_pid.get(pid)

    def find_named(self, name: str) -> Process | None:
        """Return the current or last run of the managed process with this name."""
        managed = self.named.get(name)
        return None if managed is None else managed.run

    def check_name(self, managed: Manager | None) -> None:
        """Raise ``ApiError`` (409) if another process uses the name and has not ended."""
        holder = self.named.get(managed.name) if managed else None
        if holder and holder is not managed and not holder.has_ended:
            raise ApiError(409, f"Process '{holder.name}' already exists", "ALREADY_EXISTS")

    def add(self, process: Process) -> None:
        """Add a started process.

        The row of a managed process replaces the row of its previous run. If another managed
        process used the same name before, the new row also replaces the row of that process.
        """
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
        """Add a row to the ended rows. If there are too many ended rows, drop the oldest one."""
        self._ended[process.handle] = process
        if len(self._ended) > KEPT_ROWS:
            self.remove(next(iter(self._ended.values())))

    def remove(self, process: Process) -> None:
        """Remove a row and its output."""
        self._output -= process.keep_no_output()
        self._rows.pop(process.handle, None)
        self._ended.pop(process.handle, None)
        if self._by_pid.get(process.pid) is process:
            del self._by_pid[process.pid]
        managed = process.managed
        if managed and managed.has_ended and self.named.get(managed.name) is managed:
            del self.named[managed.name]

    def output_changed(self, more: int) -> None:
        """Update the total size of the output, and discard output if the size exceeds the limit.

        Args:
            more: the number of bytes that were added; negative if output was discarded.

        """
        self._output += more
        if self._output > KEPT_OUTPUT:
            for process in self._ended.values():
                self._output -= process.keep_no_output()
                if self._output <= KEPT_OUTPUT:
                    return
            streams = [pipe for row in self.rows() for pipe in (row.stdout, row.stderr)]
            longest = max(streams, key=lambda pipe: pipe.size)
            self._output -= longest.shrink_to(longest.size // 2)
