"""Successive lists: which rows are read again, and that the result is always the same."""

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_tlsandbox.client.list_cache import ListReader
from pytest_tlsandbox.client.response_bodies import parse_list
from pytest_tlsandbox.errors import ContractViolation
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from tests.support import T0, ended, raw


def listing(*rows, spaced=False):
    separators = (", ", ": ") if spaced else (",", ":")
    return json.dumps({"processes": rows}, separators=separators).encode()


def read(*bodies):
    """Read the bodies one after the other, with one reader."""
    reader = ListReader("my-sandbox")
    return [reader.read(body) for body in bodies]


# Unchanged rows are not read again


def test_unchanged_list_gives_the_same_rows_in_another_snapshot():
    first, second = read(listing(raw(1), raw(2)), listing(raw(1), raw(2)))

    assert second.processes is first.processes
    assert second is not first


def test_cached_properties_of_a_snapshot_hold_for_the_same_list_again():
    reader = ListReader("my-sandbox")
    first = reader.read(listing(raw(1), raw(2, **ended())))
    alive = first.alive

    assert reader.read(listing(raw(1), raw(2, **ended()))).alive is alive


def test_a_row_that_did_not_change_is_the_same_object_wherever_it_stands():
    first, second = read(
        listing(raw(1), raw(2), raw(3)), listing(raw(4), raw(3), raw(2, **ended()))
    )

    assert [row.pid for row in second] == [2, 3, 4]
    assert second[1] is first[2]
    assert second[0].exit_code == 0


def test_rows_are_sorted_again_if_one_has_changed():
    _, second = read(
        listing(raw(1), raw(2, started_at=T0 + 1)),
        listing(raw(1, started_at=T0 + 2), raw(2, started_at=T0 + 1)),
    )

    assert [row.pid for row in second] == [2, 1]


def test_a_list_with_white_space_is_read_whole_each_time_it_changes():
    first, second = read(listing(raw(1), raw(2), spaced=True), listing(raw(1), spaced=True))

    assert second[0] == first[0]
    assert second[0] is not first[0]


# The result is the same as without the cache

READABLE = raw(1)
LIKE_THE_END_OF_A_ROW = "},{", "}]}", '{"processes":[{', '"},{"', "\\", '\\"},{\\"', "é\u2028"


@pytest.mark.parametrize("text", LIKE_THE_END_OF_A_ROW)
def test_text_that_looks_like_the_end_of_a_row_is_read_as_text(text):
    row = raw(1, command=text, args=(text, text), extra=[{"a": [text]}, {}], more={text: text})
    for body in (listing(row), listing(READABLE, row), listing(row, row, READABLE)):
        first, second = read(listing(READABLE), body)
        assert first == ProcessSnapshot(*parse_list(listing(READABLE)))
        assert second == ProcessSnapshot(*parse_list(body))


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


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"processes":[{',
        b'{"processes":[{}',
        b'{"processes":[{"a":1}],"processes":{}}]}',
        b'{"processes":[{"pid":1},{]}',
        listing(raw(2))[:-3] + b"}]]",
    ],
)
def test_invalid_list_is_rejected_after_a_valid_one_too(body):
    reader = ListReader("my-sandbox")
    with pytest.raises(ContractViolation):
        reader.read(body)
    good = reader.read(listing(raw(1)))

    with pytest.raises(ContractViolation):
        reader.read(body)
    assert reader.read(listing(raw(1))) == good


def test_rows_between_which_white_space_stands_are_not_taken_for_others():
    """A cut within a text, and none where a row ends: as many pieces as rows."""
    first = b'{"processes":[' + b", ".join(
        json.dumps(raw(pid, command=text), separators=(",", ":")).encode()
        for pid, text in ((1, "a},{b"), (2, "c"))
    )
    second = first.replace(b'"c"', b'"},{"')
    for body in (first + b"]}", second + b"]}"):
        seen = read(first + b"]}", body)[1]
        assert seen == ProcessSnapshot(*parse_list(body))


def test_several_threads_read_with_one_reader():
    bodies = [listing(*(raw(pid, exit_code=n) for pid in range(1, 200))) for n in range(8)]
    wanted = [ProcessSnapshot(*parse_list(body)) for body in bodies]
    reader = ListReader("my-sandbox")

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(reader.read, bodies * 5))

    assert seen == wanted * 5


def test_a_row_takes_little_memory():
    """With the list it was read from: 120 MB for 100,000 rows."""
    body = listing(
        *(
            raw(pid, args=("-m", "worker", f"--shard={pid}"), started_at=T0 + 37 * pid)
            for pid in range(1, 10_001)
        )
    )
    reader = ListReader("my-sandbox")
    tracemalloc.start()
    try:
        seen = reader.read(body)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held + len(body) < 1200 * len(seen)
