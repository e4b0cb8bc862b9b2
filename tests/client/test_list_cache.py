"""Test which rows of a list are parsed again, and that the cache never changes the result."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_tlsandbox.client.list_cache import ListReader
from pytest_tlsandbox.errors import ContractViolation
from tests.support import T0, ended, raw


def listing(*rows):
    return json.dumps({"processes": rows}, separators=(",", ":")).encode()


# Unchanged rows are not parsed again


def test_new_snapshot_of_an_unchanged_list_reuses_the_rows_and_cached_properties():
    reader = ListReader("my-sandbox")
    first = reader.read(listing(raw(1), raw(2, **ended())))
    alive = first.alive
    second = reader.read(listing(raw(1), raw(2, **ended())))

    assert second is not first
    assert second.processes is first.processes
    assert second.alive is alive


def test_unchanged_row_is_reused_even_if_its_position_in_the_list_changes():
    reader = ListReader("my-sandbox")
    first = reader.read(listing(raw(1), raw(2), raw(3)))
    second = reader.read(listing(raw(4), raw(3), raw(2, **ended())))

    assert [(row.pid, row.exit_code) for row in second] == [(2, 0), (3, None), (4, None)]
    assert second[1] is first[2]


# The result is the same as without the cache

START = '{"processes":[{'
GOOD, BAD = raw(1), raw(2, started_at="never")


def read_by(reader, body):
    """Return the snapshot of a body, or the label of the error that it raises."""
    try:
        return reader.read(body)
    except ContractViolation as violation:
        return violation.label


def read_as_a_whole(body):
    # Such a list is never split into rows, because it begins with white space.
    return read_by(ListReader("my-sandbox"), b" " + body)


def assert_read_as_if_each_were_the_first(bodies):
    reader = ListReader("my-sandbox")
    for body in bodies:
        assert read_by(reader, body) == read_as_a_whole(body)


BROKEN = ("", START, *(START + rest for rest in (
    "}", '"a":1}],"processes":{}}]}', '"pid":1},{]}', "}]]",
)))  # fmt: skip
NEWER = raw(1, started_at=T0 + 2)
TWO_ROWS = listing(raw(1, command="a},{b"), raw(2, command="c"))
SPACED = TWO_ROWS.replace(b'},{"', b'}, {"')
SEQUENCES = {
    "rows whose order changes": [listing(raw(1), raw(2)), listing(NEWER, raw(2))],
    "an unreadable row": [listing(GOOD, BAD), listing(GOOD, BAD, raw(3)), listing(GOOD, raw(2), raw(3))],
    "an unreadable row that moves": [listing(BAD, GOOD), listing(GOOD, raw(2, started_at=None))],
    # Only a text contains the separator of rows, so the body has as many pieces as rows.
    "white space between rows": [TWO_ROWS, SPACED, SPACED.replace(b'"c"', b'"},{"')],
    **{f"invalid: {body}": [body.encode(), listing(GOOD)] * 2 for body in BROKEN},
}  # fmt: skip


@pytest.mark.parametrize("bodies", SEQUENCES.values(), ids=SEQUENCES)
def test_earlier_lists_do_not_affect_how_a_list_is_read(bodies):
    assert_read_as_if_each_were_the_first(bodies)


def test_several_threads_can_share_one_list_reader():
    bodies = [listing(*(raw(pid, exit_code=n) for pid in range(1, 200))) for n in range(8)]
    reader = ListReader("my-sandbox")

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(reader.read, bodies * 5))

    assert seen == [read_as_a_whole(body) for body in bodies] * 5
