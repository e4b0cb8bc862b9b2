"""Test which processes the table keeps, and how it limits their output."""

from types import SimpleNamespace

import pytest

from pytest_tlsandbox.local import process_table
from pytest_tlsandbox.local.process_table import KEPT_ROWS, ProcessTable

from .conftest import unstarted


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr(process_table, "KEPT_OUTPUT", 10_000)
    return ProcessTable()


def add(table, output=b"", pid=None):
    handle = table.total + 1
    process = unstarted(handle, pid or handle)
    process.stdout.kept += output
    table.add(process)
    return process


def end(table, *processes):
    for process in processes:
        process.end(0, 0)
        table.note_end(process)


def test_table_keeps_all_running_processes_and_the_latest_ended_processes(table):
    living = add(table)
    ended = [add(table) for _ in range(KEPT_ROWS + 10)]
    end(table, *ended)
    assert list(table.rows.values()) == [living, *ended[10:]]
    assert table.total == KEPT_ROWS + 11
    assert (table.find(str(ended[9].pid)), table.find(str(ended[10].pid))) == (None, ended[10])


def test_reused_pid_selects_the_newer_process(table):
    older, newer = add(table, pid=7), add(table, pid=7)
    assert table.find("7") is newer
    table.remove(older)
    assert table.find("7") is newer


def test_rows_that_ended_first_are_dropped_if_output_exceeds_the_limit_but_not_if_managed(table):
    processes = [add(table, b"text\n" * 700) for _ in range(6)]
    living, backing_off, stopped, ended, newest, removed = processes
    backing_off.managed = SimpleNamespace(has_ended=False)
    stopped.managed = SimpleNamespace(has_ended=True)
    table.remove(removed)
    end(table, backing_off, stopped, ended, newest)
    assert list(table.rows.values()) == [living, backing_off, newest]
