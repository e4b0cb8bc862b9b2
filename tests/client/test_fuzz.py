"""Test with random bodies that each is parsed, or raises ContractViolation, in limited time."""

import gzip
import json
import os
import resource
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tlsandbox.client.list_cache import ListReader
from pytest_tlsandbox.client.response_bodies import parse_process
from pytest_tlsandbox.errors import ContractViolation
from tests.client.servers import reply
from tests.client.test_list_cache import assert_read_as_if_each_were_the_first
from tests.support import failure, managed, raw

# `make nightly` tests many more bodies, which differ each time.
HISTORIES = int(os.environ.get("HISTORIES", "0"))


def fuzz(bodies):
    return settings(
        max_examples=bodies * max(HISTORIES // 2000, 1) if HISTORIES else bodies // 12,
        deadline=None,
        derandomize=not HISTORIES,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def read(body):
    """Parse a body like a list call; return the snapshot, or None after a ContractViolation."""
    try:
        seen = ListReader("my-sandbox").read(body)
    except ContractViolation:
        return None
    assert str(seen)
    assert json.dumps(seen.rows)
    assert all(repr(row) for row in seen)
    assert seen == ListReader("my-sandbox").read(body)
    return seen


# ------------------------------------------------------------ within the contract

words = st.text(max_size=20)
int32 = st.integers(-(2**31), 2**31 - 1)
# The API allows any int64, but datetime cannot represent every int64 time.
times = st.integers(0, 253_402_300_799_000)
contract = st.fixed_dictionaries(
    {
        "handle": st.integers(-(2**63), 2**63 - 1), "pid": int32, "stdin_writable": st.booleans(),
        "status": st.sampled_from(["running", "exited", "signaled", "oom_killed"]),
        "command": words, "args": st.lists(words, max_size=4), "started_at": times,
    },
    optional={
        "exit_code": st.none() | int32, "signal": st.none() | int32, "ended_at": st.none() | times,
    },
)  # fmt: skip


@fuzz(400)
@given(st.lists(contract, max_size=5))
def test_every_valid_list_is_read_completely(rows):
    seen = read(json.dumps({"processes": rows}).encode())

    assert seen is not None
    assert seen.unreadable == ()
    assert sorted(row.pid for row in seen) == sorted(row["pid"] for row in rows)


# ----------------------------------------------------------- outside the contract

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
odd = st.sampled_from(["9" * 400, "1e999", "nan", "2024-13-01", "\ud800", "\x00", "-0", "1_000"])


def nested(leaves, keys, most):
    """Return JSON documents of these leaves, nested in lists and objects."""
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=most,
    )


anything = nested(scalars | odd, st.text(max_size=5), 6)
PATCHES = [b"", b"},{", b"}]}", b"{", b"\\", b'"', b" ", b"\xff"]
FIELDS = [*raw(), "oom_killed", "managed"]
MANAGED = [*managed(), "last_error", "next_restart_at"]


def with_changes(row, changes, managed):
    more = {"managed": {"id": "web", "status": "running", **managed}} if managed else {}
    return {**row, **changes, **more}


invalid = st.builds(
    with_changes,
    contract,
    st.dictionaries(st.sampled_from(FIELDS), anything, max_size=3),
    st.dictionaries(st.sampled_from(MANAGED), anything, max_size=3),
)


@fuzz(700)
@given(st.lists(invalid | anything, max_size=4))
def test_invalid_row_does_not_affect_the_other_rows(rows):
    whole = {**raw(7, handle=777), "command": "whole"}

    seen = read(json.dumps({"processes": [*rows, whole]}).encode())

    assert seen is not None
    assert len(seen) + len(seen.unreadable) == len(rows) + 1
    assert [row.pid for row in seen if row.command == "whole" and row.handle == 777] == [7]


bodies = (
    st.binary(max_size=200)
    | anything.map(lambda document: json.dumps(document).encode())
    | anything.map(lambda rows: json.dumps({"processes": rows}).encode())
)


@fuzz(1600)
@given(bodies)
def test_parsing_any_body_either_succeeds_or_raises_a_contract_violation(body):
    read(body)
    with pytest.raises(ContractViolation):
        parse_process(body)


@fuzz(1000)
@given(st.data())
def test_parsing_a_corrupted_list_either_succeeds_or_raises_a_contract_violation(data):
    body = bytearray(json.dumps({"processes": [raw(), raw(42)]}).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at, length = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 20))
        body[at : at + length] = data.draw(st.binary(max_size=1))
    read(bytes(body))


# ---------------------------------------------------------- one list after another


LIKE_THE_END_OF_A_ROW = "},{", "}]}", '{"processes":[{', '"},{"', "\\", '\\"},{\\"', "é\u2028"
text = st.sampled_from(LIKE_THE_END_OF_A_ROW) | st.text('{},[]":\\ a', max_size=8)
strange_rows = st.builds(
    lambda *fields, extra: raw(*fields, extra=extra),
    *(st.integers(1, 4), text, st.lists(text, max_size=2)),
    extra=nested(st.none() | text, text, 5),
)
any_row = strange_rows | contract | invalid


def repeats_a_key(body):
    """Return whether an object repeats a key; JSON does not define which value counts."""
    repeated = []

    def notice(pairs):
        repeated.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    try:
        json.loads(body, object_pairs_hook=notice)
    except (ValueError, RecursionError):
        return False
    return any(repeated)


@fuzz(400)
@given(st.lists(any_row, min_size=1, max_size=4), st.data())
def test_random_changes_in_earlier_lists_do_not_affect_how_a_list_is_read(rows, data):
    """Rows change between the lists, and bodies are cut or patched at any position."""
    bodies = []
    for _ in range(3):
        spaced = data.draw(st.integers(0, 3)) == 0
        # The reader parses row by row only if the body contains no white space.
        body = json.dumps({"processes": rows}, separators=None if spaced else (",", ":")).encode()
        places = st.integers(0, len(body))
        start, end = sorted((data.draw(places), data.draw(places)))
        patch = data.draw(st.sampled_from([*PATCHES, body[start:end]]))
        bodies += [body, body[:start] + patch + body[end:], body[:end] + patch + body[end:]]
        at = data.draw(st.integers(0, len(rows) - 1))
        rows = [*rows[:at], data.draw(any_row), *rows[at + data.draw(st.integers(0, 1)) :]]
    assert_read_as_if_each_were_the_first(body for body in bodies if not repeats_a_key(body))


# ------------------------------------------------------------------------ bounds


@pytest.mark.parametrize("depth", [100, 1_000, 100_000, 1_000_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["lists", "objects"])
def test_deeply_nested_json_raises_a_contract_violation_or_makes_one_row_unreadable(opening, depth):
    closing = b"]" if opening == b"[" else b"}"
    nested = opening * depth + b"1" + closing * depth

    assert read(nested) is None
    seen = read(b'{"processes":[' + nested + b"]}")
    assert seen is None or len(seen.unreadable) == 1
    assert read(opening * depth) is None


MIB = b" " * 2**20
TOO_LARGE = "Response too large: more than 64 MiB for one call"


def zipped(times):
    body = MIB * 100
    for _ in range(times):
        body = gzip.compress(body, 1)
    return [reply(200, body, Content_Encoding=", ".join(["gzip"] * times))]


# The response, the time limit of the call in seconds, and the MiB that the call may use.
HUGE = {
    "announced": (lambda: [reply(200, Content_Length=300 * 2**20), *[MIB] * 300], 20, 200),
    "without an end": (lambda: [reply(200, Content_Length=None), *[MIB] * 300], 20, 200),
    # Before urllib3 2.6, decompression takes minutes, so the time limit ends the call.
    "gzip": (lambda: zipped(1), 2, 300),
    "gzip of gzip": (lambda: zipped(2), 2, 300),
}


@pytest.mark.parametrize(("script", "limit", "most"), HUGE.values(), ids=HUGE)
def test_huge_body_is_rejected_without_loading_it_into_memory(serve, connect, script, limit, most):
    transport = connect(serve(script()))
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()

    fault = failure(lambda: transport.request("GET", "/processes", limit=limit))

    assert str(fault) in (TOO_LARGE, "my-sandbox did not answer within 2 s")
    assert time.monotonic() - begun < 60
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown / (2**20 if sys.platform == "darwin" else 2**10) < most
