"""Runs of the contract, and of an example, on other sandboxes than ``local``."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_tlsandbox.local.sandbox import start_local_sandbox
from tests.contract import facts
from tests.fakes.changed_daemons import Change, ChangedDaemon, OldDaemon, OtherLayout
from tests.model.daemon import Daemon as SimulatedDaemon
from tests.support import sample_of

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def daemon(kind, *changes):
    with start_local_sandbox(memory_limit=64 << 20) as local, kind(local, *changes) as daemon:
        yield daemon


def run_contract(daemon, folder, *options, **environment):
    """Run the contract as a user does; return its results and all that it shows and writes."""
    command = [sys.executable, "-m", "tests.contract", daemon.url, *options]
    key = {"TENSORLAKE_API_KEY": daemon.api_key.reveal()}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **key, **environment}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=folder, env=environment, check=True, **output)
    texts = [(folder / f"contract-results/contract.{kind}").read_text() for kind in ("json", "md")]
    return json.loads(texts[0]), "\n".join([done.stdout, *texts])


def different(results):
    """Return the facts that are different, and what was found."""
    facts = results["facts"]
    return {fact["fact"]: fact["detail"] for fact in facts if fact["result"] == "different"}


@pytest.mark.parametrize(
    "only",
    sample_of({"all": "", "what differs": "sorted or utf8 or descendant_keeps"}, "what differs"),
)
def test_contract_finds_out_how_the_open_source_daemon_differs(tmp_path, only):
    with daemon(OldDaemon) as old:
        results, _ = run_contract(old, tmp_path, "-k", only)
    assert different(results).keys() == {
        "list is sorted by start time",
        "output continues after invalid utf8",
        "stream sends eof although a descendant keeps the pipe open",
    }
    has = {"follow", "files", "python"}
    lacks = {"key", "handles", "managed", "restart", "run", "tunnel", "oom"}
    lacks |= {"sorted", "any_bytes", "eof_on_end"}
    if not only:
        has, lacks = has | {"kernel_counter"}, lacks | {"reaps"}
    assert results["traits"] == dict.fromkeys(has, True) | dict.fromkeys(lacks, False)


WRONG = {
    "a row has no command": ("documented_fields", (b'"command":', b'"cmd":')),
    "a pid is a text": ("documented_fields", (rb'"pid":(\d+)', rb'"pid":"\1"'), "GET"),
    "times are in seconds": ("milliseconds", (rb'_at":(\d+)\d{3}', rb'_at":\1')),
    "exit codes are lost": ("row_of_an_exited", (rb'_code":\d+', b'_code":-1')),
    "signals are lost": ("a_signal_ended", (rb'"signal":\d+', b'"signal":null')),
    "OOM kills are not shown": ("own_status", (b'"oom_killed",', b'"signaled",')),
    "handles are not unique": ("handle_of_each", (rb'"handle":\d+', b'"handle":1')),
    "pids are lost": ("rows_of_ended", (rb'\d+(,"status":"exited")', rb"0\1"), "processes$"),
    "a list obeys a limit": ("query_parameters", (rb"\[.*", b"[]}"), "limit=1"),
    "a start waits": ("response_to_a_start", (b'"running"', b'"exited"'), "POST"),
    "an unknown pid has no output": ("output_request_for", {200: 404}, "/std|/out"),
    "an error has no code": ("pid_returns_404", (b',"code":"NOT_FOUND"', b"")),
    "an ended process can be killed": ("signal_and_kill", {500: 204}, "DELETE"),
    "an unknown program starts": ("failed_start", {500: 201}, "POST"),
    "lines have line breaks": ("output_consists", (b'"out"', rb'"out\\n"'), "stdout"),
    "a stream has no eof": ("timestamp_0", (b"event: eof\ndata: {}\n\n", b""), "follow"),
    "the last exit is hidden": ("last_run_ended", (rb'(last_exit":)\{[^}]*\}', rb"\1null")),
    "restarts are not planned": ("next_start", (rb'restart_at":\d+', b'restart_at":0')),
    "any process can be restarted": ("for_an_unmanaged", {400: 200}, "restart"),
    "a file is text": ("file_can_be_written", (b"^.", b""), "GET /api/v1/files"),
    "a folder can be read": ("unusable_path", {400: 200}, "GET /api/v1/files"),
    "a port is always open": ("no_program_listens_on", {502: 200}, "tunnels"),
}
"""The tests that find a wrong answer, what is changed in the body or the status, and where."""


@pytest.mark.parametrize("wrong", sample_of(WRONG, "exit codes are lost"))
def test_contract_finds_what_is_wrong_with_a_daemon(tmp_path, wrong):
    only, change, *requests = wrong
    change = {"body": change} if isinstance(change, tuple) else {"status": change}
    with daemon(ChangedDaemon, Change(*requests, **change)) as wrong:
        results, _ = run_contract(wrong, tmp_path, "--oom", "-k", only)
    assert [fact["result"] for fact in results["facts"]] == ["different"]


def test_results_contain_no_key_and_no_name_of_the_sandbox_or_the_user(tmp_path):
    names = {"LOGNAME": "ada-of-tests", "HOME": "/home/sentinel"}
    with daemon(ChangedDaemon) as leaky:
        private = [leaky.api_key.reveal(), leaky.url, socket.gethostname(), *names.values()]
        told = f"{' '.join(private)} --token=sentinel-of-tests".encode()
        leaky.changes = [Change(body=(b"Failed to spawn process", told))]
        results, text = run_contract(leaky, tmp_path, "-k", "failed_start", **names)
    [detail] = different(results).values()
    assert "<key> <target> <host> <user> <home> --token=***" in detail
    shown = text.partition("awake")[2]  # the announcement names the sandbox
    assert [secret for secret in (*private, "sentinel-of-tests") if secret in shown] == []


def test_each_switch_of_the_simulated_daemon_is_a_trait_of_the_contract():
    switches = set(vars(SimulatedDaemon(0).layout)) - {"faults", "clock_stops"}
    assert switches <= set(facts.TRAITS)


def test_example_test_suite_of_the_shop_passes_on_a_service_with_another_layout(fork_pytest):
    with daemon(OtherLayout) as service:
        options = ["examples/test_shop.py", f"--tlsandbox={service.url}", "-q", "-n0"]
        options += ["--tlsandbox-guard=oom,crash,restart,leak", "-p", "no:cacheprovider"]
        key = {"TENSORLAKE_API_KEY": service.api_key.reveal()}
        result = fork_pytest(options, ROOT, {**os.environ, **key})
    result.assert_outcomes(passed=5)
