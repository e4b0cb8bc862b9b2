"""Decide which rows are listed, which row a path selects, and which rows are dropped.

The table keeps the rows of running processes, and the newest rows of ended processes. It is not
known how long the production service keeps rows. The old daemon, which is open source, keeps all
rows (api-notes, "Rows").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.local.asgi import ApiError

if TYPE_CHECKING:
    from pytest_tlsandbox.local.process import Manager, Process

KEPT_ROWS = 2000
"""Maximum number of ended processes whose rows are kept."""

KEPT_OUTPUT = 256 * 1024 * 1024
"""Maximum bytes of output to keep of all ended processes together."""


class ProcessTable:
    """The rows of processes, indexed by handle, pid and name.

    Attributes:
        total: the number of processes that have been started so far.
        rows: the processes by handle, oldest first.

    """

    def __init__(self) -> None:
        self.total = 0
        self.rows: dict[int, Process] = {}
        self._by_pid: dict[int, Process] = {}
        self._by_name: dict[str | None, Process] = {}
        # The size of each process's output at its end; the process that ended first is first.
        self._ended: dict[Process, int] = {}

    def find(self, selector: int | str) -> Process | None:
        """Return the newest process with the given pid, or the newest run with the given name."""
        if isinstance(selector, int):
            return self._by_pid.get(selector)
        return self._by_name.get(selector)

    def check_name(self, managed: Manager | None) -> None:
        """Raise ``ApiError`` (409) if another process uses the name and has not ended."""
        run = self._by_name.get(managed.name) if managed else None
        if run and run.managed and run.managed is not managed and not run.managed.has_ended:
            raise ApiError(409, f"Process '{run.managed.name}' already exists", "ALREADY_EXISTS")

    def add(self, process: Process) -> None:
        """Add a started process.

        The row of a managed process replaces the row of its previous run. If another managed
        process used the same name before, the new row also replaces the row of that process.
        """
        self.total += 1
        managed = process.managed
        if managed:
            for replaced in (managed.run, self._by_name.get(managed.name)):
                if replaced:
                    self.remove(replaced)
            managed.run = process
            managed.starts += 1
            if managed.name:
                self._by_name[managed.name] = process
        self.rows[process.handle] = self._by_pid[process.pid] = process

    def note_end(self, process: Process) -> None:
        """Add a row to the ended rows.

        If there are too many ended rows, drop the oldest row. If there is too much output, drop the
        oldest outputs.
        """
        self._ended[process] = process.stdout.size + process.stderr.size
        if len(self._ended) > KEPT_ROWS:
            self.remove(next(iter(self._ended)))
        excess = sum(self._ended.values()) - KEPT_OUTPUT
        for oldest, size in self._ended.items():
            if excess <= 0:
                break
            oldest.stdout.keep_no_more()
            oldest.stderr.keep_no_more()
            self._ended[oldest] = 0
            excess -= size

    def remove(self, process: Process) -> None:
        """Remove a row."""
        self.rows.pop(process.handle, None)
        self._ended.pop(process, None)
        if self._by_pid.get(process.pid) is process:
            del self._by_pid[process.pid]
        if process.managed and self._by_name.get(process.managed.name) is process:
            del self._by_name[process.managed.name]
