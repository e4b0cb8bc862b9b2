"""Successive lists: which rows are parsed again, and that the result is always the same."""

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_tlsandbox.client.list_cache import ListReader
from pytest_tlsandbox.client.response_bodies import parse_list
from pytest_tlsandbox.errors import ContractViolation
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from tests.support import T0, ended, failure, raw


def listing(*rows, spaced=False):
    separators = (", ", ": ") if spaced else (",", ":")
    return json.dumps({"processes": rows}, separators=separators).encode()


def read(*bodies):
    """Read the bodies one after the other, with one reader."""
    reader = ListReader("my-sandbox")
    return [reader.read(body) for body in bodies]


# Unchanged rows are not parsed again


def test_unchanged_list_gives_another_snapshot_with_the_same_rows_and_cached_properties():
    reader = ListReader("my-sandbox")
    first = reader.read(listing(raw(1), raw(2, **ended())))
    alive = first.alive
    second = reader.read(listing(raw(1), raw(2, **ended())))

    assert second is not first
    assert second.processes is first.processes
    assert second.alive is alive


def test_unchanged_row_is_the_same_object_at_any_position():
    first, second = read(
        listing(raw(1), raw(2), raw(3)), listing(raw(4), raw(3), raw(2, **ended()))
    )

    assert [(row.pid, row.exit_code) for row in second] == [(2, 0), (3, None), (4, None)]
    assert second[1] is first[2]


def test_rows_are_sorted_again_if_one_has_changed():
    _, second = read(
        listing(raw(1), raw(2, started_at=T0 + 1)),
        listing(raw(1, started_at=T0 + 2), raw(2, started_at=T0 + 1)),
    )

    assert [row.pid for row in second] == [2, 1]


def test_list_with_white_space_is_read_as_a_whole_if_it_changed():
    first, second = read(listing(raw(1), raw(2), spaced=True), listing(raw(1), spaced=True))

    assert second[0] == first[0]
    assert second[0] is not first[0]


# The result is the same as without the cache

LIKE_THE_END_OF_A_ROW = "},{", "}]}", '{"processes":[{', '"},{"', "\\", '\\"},{\\"', "é\u2028"


@pytest.mark.parametrize("text", LIKE_THE_END_OF_A_ROW)
def test_text_that_looks_like_the_end_of_a_row_is_read_as_text(text):
    row = raw(1, command=text, args=(text, text), extra=[{"a": [text]}, {}], more={text: text})
    for body in (listing(row), listing(raw(1), row), listing(row, row, raw(1))):
        assert read(listing(raw(1)), body)[1] == ProcessSnapshot(*parse_list(body))


def test_unreadable_row_affects_only_itself_in_list_after_list():
    good, bad = raw(1), raw(2, started_at="never")
    first, second, third = read(
        listing(good, bad), listing(good, bad, raw(3)), listing(good, raw(2), raw(3))
    )

    assert [len(first), len(second), len(third)] == [1, 2, 3]
    assert [row.position for row in second.unreadable] == [1]
    assert second[0] is first[0]
    assert third.unreadable == ()


def test_unreadable_row_is_reported_at_its_new_position():
    _, second = read(
        listing(raw(2, started_at="never"), raw(1)), listing(raw(1), raw(2, started_at=None))
    )

    assert [(row.position, row.reason) for row in second.unreadable] == [
        (1, "started_at: not a valid datetime")
    ]


START = '{"processes":[{'
INVALID = ["", START, START + "}", START + '"a":1}],"processes":{}}]}', START + '"pid":1},{]}', START + "}]]"]  # fmt: skip


@pytest.mark.parametrize("body", INVALID)
def test_invalid_list_is_rejected_before_and_after_a_valid_one(body):
    reader = ListReader("my-sandbox")
    for _ in range(2):
        failure(lambda: reader.read(body.encode()), ContractViolation)
        assert reader.read(listing(raw(1)))[0].pid == 1


def test_rows_separated_by_white_space_are_not_mixed_up():
    """The only separator without white space is inside a text: as many pieces as rows."""
    first = b'{"processes":[' + b", ".join(
        json.dumps(raw(pid, command=text), separators=(",", ":")).encode()
        for pid, text in ((1, "a},{b"), (2, "c"))
    )
    second = first.replace(b'"c"', b'"},{"')
    for body in (first + b"]}", second + b"]}"):
        seen = read(first + b"]}", body)[1]
        assert seen == ProcessSnapshot(*parse_list(body))


def test_several_threads_can_share_a_reader():
    bodies = [listing(*(raw(pid, exit_code=n) for pid in range(1, 200))) for n in range(8)]
    reader = ListReader("my-sandbox")

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(reader.read, bodies * 5))

    assert seen == [ProcessSnapshot(*parse_list(body)) for body in bodies] * 5


def test_row_takes_little_memory():
    """Together with the body: 120 MB for 100,000 rows."""
    numbers = range(1, 10_001)
    rows = (raw(n, args=("-m", "worker", f"--shard={n}"), started_at=T0 + 37 * n) for n in numbers)
    body, reader = listing(*rows), ListReader("my-sandbox")
    tracemalloc.start()
    try:
        seen = reader.read(body)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert used + len(body) < 1200 * len(seen)
