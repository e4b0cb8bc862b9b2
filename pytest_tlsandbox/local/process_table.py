"""Decide which rows are listed, which row a path selects, and which rows are dropped.

The table keeps the rows of running processes, of managed processes that have not been stopped, and
the newest rows of the other ended processes. It is not
known how long the production service keeps rows. The old daemon, which is open source, keeps all
rows (api-notes, "Rows").
"""

from pytest_tlsandbox.local.process import Process

KEPT_ROWS = 2000
"""Maximum number of ended processes whose rows are kept."""

KEPT_OUTPUT = 256 * 1024 * 1024
"""Maximum bytes of output to keep of all ended processes together."""


class ProcessTable:
    """The rows of processes.

    Attributes:
        total: the number of processes that have been started so far.
        rows: the processes by handle, oldest first.

    """

    def __init__(self) -> None:
        self.total = 0
        self.rows: dict[int, Process] = {}
        # The size of each process's output at its end; the process that ended first is first.
        self._ended: dict[Process, int] = {}

    def find(self, pid_or_name: str | None) -> Process | None:
        """Return the newest process with the given pid, or the newest run with the given name.

        A pid consists of digits, but a name does not.
        """
        for process in reversed(self.rows.values()) if pid_or_name else ():
            if pid_or_name in (str(process.pid), process.request.name):
                return process
        return None

    def add(self, process: Process) -> None:
        """Add a started process; its row replaces the row of a process with the same name."""
        self.total += 1
        if namesake := self.find(process.request.name):
            self.remove(namesake)
        self.rows[process.handle] = process

    def note_end(self, process: Process) -> None:
        """Drop the rows of the processes that ended first, if there are too many ended processes.

        The same applies if the output of the ended processes is too large.
        """
        self._ended[process] = len(process.stdout.kept) + len(process.stderr.kept)
        for oldest in [*self._ended]:
            if len(self._ended) <= KEPT_ROWS and sum(self._ended.values()) <= KEPT_OUTPUT:
                return
            if oldest.managed is None or oldest.managed.has_ended:
                self.remove(oldest)

    def remove(self, process: Process) -> None:
        """Remove a row."""
        self.rows.pop(process.handle, None)
        self._ended.pop(process, None)
