"""One list after another: what is read again, what is not, and that it makes no difference."""

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_tlsandbox.client.list_cache import ListReader
from pytest_tlsandbox.client.parsing import parse_list
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


# What is not read again


def test_a_list_that_did_not_change_gives_the_same_rows_in_a_look_of_its_own():
    first, second = read(listing(raw(1), raw(2)), listing(raw(1), raw(2)))

    assert second.processes is first.processes
    assert second is not first


def test_what_was_found_out_about_a_list_holds_for_the_same_list_again():
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


def test_rows_are_sorted_anew_where_one_has_changed():
    _, second = read(
        listing(raw(1), raw(2, started_at=T0 + 1)),
        listing(raw(1, started_at=T0 + 2), raw(2, started_at=T0 + 1)),
    )

    assert [row.pid for row in second] == [2, 1]


def test_a_list_with_white_space_is_read_whole_each_time_it_changes():
    first, second = read(listing(raw(1), raw(2), spaced=True), listing(raw(1), spaced=True))

    assert second[0] == first[0]
    assert second[0] is not first[0]


# That it makes no difference

READABLE = raw(1)
HARMLESS = "},{", "}]}", '{"processes":[{', '"},{"', "\\", '\\"},{\\"', "é\u2028"


@pytest.mark.parametrize("text", HARMLESS)
def test_a_text_that_looks_like_the_end_of_a_row_is_a_text(text):
    row = raw(1, command=text, args=(text, text), extra=[{"a": [text]}, {}], more={text: text})
    for body in (listing(row), listing(READABLE, row), listing(row, row, READABLE)):
        first, second = read(listing(READABLE), body)
        assert first == ProcessSnapshot(*parse_list(listing(READABLE)))
        assert second == ProcessSnapshot(*parse_list(body))


def test_a_row_that_cannot_be_read_spoils_only_itself_look_after_look():
    good, bad = raw(1), raw(2, started_at="never")
    first, second, third = read(
        listing(good, bad), listing(good, bad, raw(3)), listing(good, raw(2), raw(3))
    )

    assert [len(first), len(second), len(third)] == [1, 2, 3]
    assert [row.position for row in second.unreadable] == [1]
    assert second[0] is first[0]
    assert third.unreadable == ()


def test_a_row_that_cannot_be_read_is_told_where_it_stands_now():
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
    ],
)
def test_what_is_no_list_is_none_after_a_good_one_too(body):
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


TEXT = st.sampled_from(HARMLESS) | st.text('{},[]":\\ a', max_size=8)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
ROWS = st.builds(
    lambda pid, command, args, fields, extra: raw(pid, command, tuple(args), **fields, extra=extra),
    st.integers(1, 4),
    TEXT,
    st.lists(TEXT, max_size=2),
    st.sampled_from(
        [{}, ended(), ended(1), {"started_at": T0 + 5}, {"status": 7}, {"handle": None}]
    ),
    ANYTHING,
)
LISTS = st.builds(
    lambda rows, spaced: listing(*rows, spaced=spaced),
    st.lists(ROWS | ANYTHING, max_size=4) | st.lists(ROWS, max_size=6),
    st.sampled_from([False, False, False, True]),
)


def outcome(reading):
    try:
        return reading()
    except ContractViolation as violation:
        return str(violation)


def repeats_a_key(body):
    """Return whether an object has a key twice: which one counts is left open, and pydantic 2.7 differs."""
    repeated = []

    def notice(pairs):
        repeated.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    try:
        json.loads(body, object_pairs_hook=notice)
    except ValueError:
        return False
    return any(repeated)


def assert_each_is_read_as_if_it_were_the_first(bodies):
    reader = ListReader("my-sandbox")
    for body in bodies:
        alone = outcome(lambda body=body: ProcessSnapshot(*parse_list(body)))
        after_others = outcome(lambda body=body: reader.read(body))
        if isinstance(alone, ProcessSnapshot) and isinstance(after_others, ProcessSnapshot):
            # The order of rows that say they began together is the server's.
            assert after_others.processes == alone.processes
            assert after_others.unreadable == alone.unreadable
        else:
            assert after_others == alone


@settings(max_examples=300, deadline=None)
@given(st.lists(LISTS, min_size=1, max_size=5))
def test_each_list_is_read_as_if_it_were_the_first(bodies):
    assert_each_is_read_as_if_it_were_the_first(bodies)


@settings(max_examples=300, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=4), st.data())
@example([raw(1, command="a},{b")], None)
def test_a_body_that_was_cut_or_mended_anywhere_is_read_as_if_it_were_the_first(rows, data):
    body = listing(*rows)
    bodies = [body]
    places = st.integers(0, len(body))
    for _ in range(3 if data else 0):
        start, end = sorted((data.draw(places), data.draw(places)))
        patch = data.draw(st.sampled_from([b"", b"},{", b"}]}", b"{", b'"', b" ", body[start:end]]))
        bodies += [body[:start] + patch + body[end:], body[:end] + patch + body[end:]]
    bodies = [each for each in bodies if not repeats_a_key(each)]
    assert_each_is_read_as_if_it_were_the_first([*bodies, body])


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
