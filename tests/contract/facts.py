"""Marks for facts about the sandbox API: what a fact rests on, and what a sandbox needs to show it.

A test of this folder states one fact; its name is the fact. The sources are explained in
``docs/contributing/api-notes.md``.
"""

import pytest

TRAITS = {
    "key": "the proxy checks the key; a daemon without a proxy accepts every request",
    "handles": "a row without a handle is identified by its pid and its start time",
    "managed": "start_process fails if the sandbox ignores a name, restart or health_check",
    "restart": "restart_process reports that the sandbox does not know the call",
    "run": "the plugin does not use this call",
    "follow": "without a stream, a wait polls",
    "files": "without files, OOM kills of processes that the list does not show are not found",
    "tunnel": "wait_for_port fails and names the health check as the alternative",
    "python": "only this contract uses Python, to listen on ports",
    "oom": "only this contract needs a memory limit that a test may exceed",
    "sorted": "the plugin sorts each list by start time",
    "keeps_rows": "the history accepts both rows of earlier runs and rows that are replaced",
    "counts_manual": "the history expects both counts after restart_process",
    "counts_early": "the history finds out when the count rises",
    "says_why": "without last_error, a supervisor that used all restarts has given up",
    "reaps": "a row that vanishes after a kill counts as ended",
    "eof_on_end": "if eof comes late, the next poll notices the end",
    "any_bytes": "output after invalid UTF-8 may be missing",
    "flags_children": "exit code 137 is a suspected OOM kill",
    "kernel_counter": "OOM kills of processes that the list does not show are not found",
    "health_restarts": "an unhealthy process may be restarted or not",
}
"""What sandboxes may do differently, and how the plugin copes with that."""


def _fact(basis):
    """Return a mark: what the fact ``needs``, and which ``trait`` it shows ("not ..." excludes it)."""

    def mark(source, *, needs="", trait=""):
        assert {*needs.split(), trait.removeprefix("not ")} <= {"", *TRAITS}
        return pytest.mark.fact(basis, source, needs, trait)

    return mark


documented = _fact("documented")
measured = _fact("measured")
assumed = _fact("assumed")


FEATURES = {
    "key": lambda api: api.call("GET", "/processes", headers={"Authorization": None}).status_code in (401, 403),
    "handles": lambda api: "handle" in api.start_row("true"),
    "managed": lambda api: api.start_row("true", name=api.new_name()).get("managed") is not None,
    "restart": lambda api: api.send("nobody", "restart").text.startswith('{"error"'),
    "run": lambda api: api.call("POST", "/processes/run", json={}).status_code not in (404, 405),
    "follow": lambda api: api.call("GET", "/processes/999999/stdout/follow").ok,
    "files": lambda api: api.call("GET", "/files/list?path=/").ok,
    "tunnel": lambda api: api.call("GET", "/tunnels/tcp?port=0").status_code != 404,
    "python": lambda api: api.run("sh", "-c", "command -v python3")["exit_code"] == 0,
    "oom": lambda api: api.may_exceed_memory,
}  # fmt: skip
"""Which optional features a sandbox has; without a feature, the facts that need it are unknown."""
