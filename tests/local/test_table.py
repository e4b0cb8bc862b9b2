"""What the table keeps of processes that have ended, and what it lets go of."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from pytest_tlsandbox.local import table as table_module
from pytest_tlsandbox.local.bodies import StartRequest
from pytest_tlsandbox.local.process import Pipes, Process
from pytest_tlsandbox.local.table import KEPT_ROWS, ProcessTable


def in_loop(test: Callable[[], None]) -> Callable[[], None]:
    async def run() -> None:
        test()

    def wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(table_module, "KEPT_OUTPUT", 10_000)
        asyncio.run(run())

    wrapper.__name__ = test.__name__
    return wrapper


def add(table: ProcessTable, output: bytes = b"", **fields: Any) -> Process:
    reading, writing = os.pipe()
    process = Process(
        table.total + 1,
        fields.get("pid", table.total + 1),
        StartRequest("true"),
        0,
        Pipes(None, reading, None),
        output_changed=table.output_changed,
    )
    table.add(process)
    os.write(writing, output)
    process.stdout.drain()
    os.close(writing)
    return process


def end(table: ProcessTable, process: Process) -> None:
    process.end(0, 0)
    table.note_end(process)


@in_loop
def test_the_newest_ended_rows_stay_and_all_that_live() -> None:
    table = ProcessTable()
    living = add(table)
    ended = [add(table) for _ in range(KEPT_ROWS + 10)]
    for process in ended:
        end(table, process)
    assert table.rows() == [living, *ended[10:]]
    assert table.total == KEPT_ROWS + 11
    assert (table.find(ended[9].pid), table.find(ended[10].pid)) == (None, ended[10])


@in_loop
def test_a_pid_that_was_used_again_is_the_newer_process() -> None:
    table = ProcessTable()
    older, newer = add(table, pid=7), add(table, pid=7)
    assert table.find(7) is newer
    table.remove(older)
    assert table.find(7) is newer


@in_loop
def test_too_much_output_goes_from_the_ended_first_the_oldest_before_the_others() -> None:
    table = ProcessTable()
    living = add(table, b"living\n" * 500)
    first, second = add(table, b"1st\n" * 750), add(table, b"2nd\n" * 750)
    end(table, first)
    end(table, second)
    add(table, b"new\n" * 500)
    sizes = [len(process.stdout.lines()) for process in (living, first, second)]
    assert sizes == [500, 0, 750]


@in_loop
def test_too_much_output_of_the_living_is_taken_from_the_longest() -> None:
    table = ProcessTable()
    longest = add(table, b"1234\n" * 1750)
    other = add(table, b"x\n" * 2000)
    assert len(longest.stdout.lines()) == 875
    assert len(other.stdout.lines()) == 2000


@in_loop
def test_what_a_removed_row_had_written_makes_room() -> None:
    table = ProcessTable()
    removed = add(table, b"x" * 9000)
    table.remove(removed)
    kept = add(table, b"y" * 9000)
    assert (removed.stdout.size, kept.stdout.size) == (0, 9000)
