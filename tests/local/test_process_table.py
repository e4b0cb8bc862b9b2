"""Test which processes the table keeps, and how it limits their output."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.local import process_table
from pytest_tlsandbox.local.process_table import KEPT_ROWS, ProcessTable

from .conftest import unstarted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tlsandbox.local.process import Process


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessTable]:
    monkeypatch.setattr(process_table, "KEPT_OUTPUT", 10_000)
    loop = asyncio.new_event_loop()
    # Streams need a running event loop; the server has one.
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    yield ProcessTable()
    loop.close()


def add(table: ProcessTable, output: bytes = b"", **fields: Any) -> Process:
    reading, writing = os.pipe()
    process = unstarted(table.total + 1, reading, output_changed=table.output_changed, **fields)
    table.add(process)
    os.write(writing, output)
    os.close(writing)
    process.stdout.drain()
    return process


def end(table: ProcessTable, *processes: Process) -> None:
    for process in processes:
        process.end(0, 0)
        table.note_end(process)


def test_table_keeps_all_running_processes_and_the_latest_ended_processes(
    table: ProcessTable,
) -> None:
    living = add(table)
    ended = [add(table) for _ in range(KEPT_ROWS + 10)]
    end(table, *ended)
    assert table.rows() == [living, *ended[10:]]
    assert table.total == KEPT_ROWS + 11
    assert (table.find(ended[9].pid), table.find(ended[10].pid)) == (None, ended[10])


def test_reused_pid_selects_the_newer_process(table: ProcessTable) -> None:
    older, newer = add(table, pid=7), add(table, pid=7)
    assert table.find(7) is newer
    table.remove(older)
    assert table.find(7) is newer


def test_output_of_the_oldest_ended_process_is_discarded_first(table: ProcessTable) -> None:
    living = add(table, b"living\n" * 500)
    first, second = add(table, b"1st\n" * 750), add(table, b"2nd\n" * 750)
    end(table, first, second)
    add(table, b"new\n" * 500)
    sizes = [len(process.stdout.lines()) for process in (living, first, second)]
    assert sizes == [500, 0, 750]


def test_table_shortens_the_longest_output_if_running_processes_exceed_the_output_limit(
    table: ProcessTable,
) -> None:
    longest, other = add(table, b"1234\n" * 1750), add(table, b"x\n" * 2000)
    assert (len(longest.stdout.lines()), len(other.stdout.lines())) == (875, 2000)


def test_removed_process_does_not_count_towards_the_output_limit(table: ProcessTable) -> None:
    removed = add(table, b"x" * 9000)
    table.remove(removed)
    kept = add(table, b"y" * 9000)
    assert (removed.stdout.size, kept.stdout.size) == (0, 9000)
