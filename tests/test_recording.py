"""What a real sandbox answered, recorded without its secrets and replayed in no time."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.async_sandbox import AsyncSandbox
from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.processes import SandboxClient
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.local.server import start_local_sandbox
from pytest_tlsandbox.redact import Secret
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.testing.listings import ScriptedLister, row
from pytest_tlsandbox.testing.recording import record, replay

TOKEN = "hunter2-swordfish"


@pytest.fixture(scope="module")
def box():
    with start_local_sandbox() as served:
        address = Address("staging", served.url, {"Host": f"{served.identifier}.local"})
        client = SandboxClient(Transport(address, served.api_key, user_agent="test"))
        yield Sandbox(client)
        client.close()


def entries(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def judge(box: Sandbox) -> errors.WrongEnd:
    """A helper of a user's: it starts a job and tells how it ends."""
    job = box.start_process(
        "sh", ["-c", "echo no memory >&2; sleep 0.5; exit 3", f"--token={TOKEN}"]
    )
    with pytest.raises(errors.WrongEnd) as failure:
        box.wait_for_exit(job, timeout=30)
    return failure.value


def test_a_recording_of_real_listings_is_judged_as_they_were_and_in_no_time(box, tmp_path):
    path = tmp_path / "job.jsonl"
    with record(box, path):
        real = judge(box)

    begun = time.perf_counter()
    replayed = judge(Sandbox(replay(path)))

    assert time.perf_counter() - begun < 0.3
    assert replayed.first_line == real.first_line
    assert "| no memory" in str(replayed)
    assert "sandbox   staging" in str(replayed)
    assert replayed.snapshot.rows == real.snapshot.rows


def test_no_secret_is_in_a_recording(box, tmp_path):
    path = tmp_path / "job.jsonl"
    key = Secret("tl-key-that-a-program-printed")
    with record(box, path):
        judge(box)
        printer = box.start_process("sh", ["-c", f"echo key {key.reveal()} and PASSWORD={TOKEN}"])
        box.wait_for_output(printer, "and")

    text = path.read_text()
    assert TOKEN not in text
    assert key.reveal() not in text
    assert "--token=***" in text
    assert "key *** and PASSWORD=***" in text


def test_masked_is_also_what_a_sandbox_sends_beyond_the_contract(tmp_path):
    odd = row(
        41,
        args=["--password", TOKEN, "train.py"],
        env={"API_KEY": TOKEN, "HOME": "/root"},
        origin=[f"https://user:{TOKEN}@host/x"],
    )
    path = tmp_path / "odd.jsonl"
    lister = ScriptedLister({0: [odd]})
    with record(lister, path):
        lister.list()

    [_, entry] = entries(path)
    [listed] = entry["body"]["processes"]
    assert listed["args"] == ["--password", "***", "train.py"]
    assert listed["env"] == {"API_KEY": "***", "HOME": "/root"}
    assert listed["origin"] == ["https://***@host/x"]
    assert {**odd, **{name: listed[name] for name in ("args", "env", "origin")}} == listed


def test_faults_are_replayed_as_they_were_met(tmp_path):
    busy = errors.SandboxUnreachable(
        "my-sandbox answered 503", label="503", transient=True, retry_after=2.0, delivered=False
    )
    script = {0: [row(41)], 1: busy, 3: b"<html>", 4: [row(41, status="exited", exit_code=0)]}
    lister, path = ScriptedLister(script), tmp_path / "faults.jsonl"
    with record(lister, path):
        Sandbox(lister).list_processes()
        lister.clock.now += 1
        with pytest.raises(errors.SandboxUnreachable):
            lister.look()
        lister.clock.now += 2
        with pytest.raises(errors.ContractViolation):
            lister.look()
        lister.clock.now += 1
        lister.look()

    again = replay(path)
    assert again.look()[0].status == "running"
    again.clock.now += 1
    with pytest.raises(errors.SandboxUnreachable) as fault:
        again.look()
    assert str(fault.value) == str(busy)
    assert vars(fault.value) == vars(busy)
    again.clock.now += 2
    with pytest.raises(errors.ContractViolation):
        again.look()
    again.clock.now += 1
    assert again.look()[0].exit_code == 0


def test_only_what_has_changed_is_written(tmp_path):
    lister, path = ScriptedLister({0: [row(41)]}), tmp_path / "still.jsonl"
    with record(lister, path), pytest.raises(errors.WaitTimedOut):
        Sandbox(lister).wait_for_exit(41, timeout=20)

    assert len(lister.looks) > 50
    listings = [entry for entry in entries(path) if entry.get("path") == "/processes"]
    assert [entry["at"] for entry in listings] == [0.0]


def test_an_awaitable_sandbox_is_recorded_too(tmp_path):
    box, path = AsyncSandbox(Sandbox(ScriptedLister({0: [row(41)]}))), tmp_path / "async.jsonl"
    with record(box, path):
        asyncio.run(box.list_processes())

    assert replay(path).list()[0].pid == 41


def test_a_recording_ends_with_its_block(tmp_path):
    lister, path = ScriptedLister({0: [row(41)], 1: []}), tmp_path / "short.jsonl"
    with record(lister, path):
        lister.list()
    lister.clock.now += 1
    lister.list()

    assert len(entries(path)) == 2


@pytest.mark.parametrize(
    "text",
    ["", "{}", "not JSON", "[1]", '{"tlsandbox_recording": 2}', '{"tlsandbox_recording": 1}'],
)
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "other.jsonl"
    path.write_text(text)

    with pytest.raises(errors.InvalidArgument, match=r"expected a recording .* got .*other\.jsonl"):
        replay(path)
