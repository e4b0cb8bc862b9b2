"""Check with schemathesis that every response conforms to the OpenAPI document.

``make schemathesis`` runs this module in a separate environment: schemathesis is a pytest plugin,
and every run of pytest inside the other tests would import it.
"""

import os
from copy import deepcopy

import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis import checks
from schemathesis.generation import GenerationMode

from tests.local.openapi import OPERATIONS, document

from .conftest import new_sandbox

CASES = int(os.environ.get("CASES", "500"))
CHECKS = [
    checks.content_type_conformance,
    checks.ignored_auth,
    checks.negative_data_rejection,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.status_code_conformance,
    checks.unsupported_method,
]
# These commands are safe with any arguments, because they only print something and exit.
HARMLESS = ["true", "false", "echo", "/no/such/program"]
BACKOFF = ["initial_backoff_ms", "max_backoff_ms"]
SHORTEST_BACKOFF = 600_000
"""Milliseconds. The API accepts less: such a body is not sent, since it is not wrong."""
UNKNOWN = ["0", "999999", "4294967296", "nobody", "a%2Fb", "%FF", "100%25"]


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """Start a sandbox for all tests.

    Its working folder is a temporary folder, because the requests write and delete files in it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("files"))
        with new_sandbox(memory_limit=256 << 20) as api:
            yield api


def selectors(api, path):
    """Start processes; return the selectors of processes for a path."""
    living = [api.start("cat", stdin_mode="pipe"), api.start("sleep", "600"), "web"]
    api.call("POST", "/processes", json={"command": "cat", "stdin_mode": "pipe", "name": "web"})
    script = "echo out; echo err >&2; exit 3"
    ended = [api.run("sh", "-c", script)["pid"], api.run("true", restart={})["pid"]]
    if path.endswith("/follow"):  # the stream of a running process would never end
        living = []
    return [*map(str, living + ended), *UNKNOWN]


def made_harmless(api, path):
    """Limit the document to requests that reach a process or file and cannot harm this machine."""
    narrowed = document(process={"enum": selectors(api, path)})
    schemas = narrowed["components"]["schemas"]
    for body in (schemas["StartRequest"], schemas["RunRequest"]):
        body["properties"]["command"] = {"enum": HARMLESS}
    restart, check = (deepcopy(schemas[name]) for name in ("Restart", "HealthCheck"))
    schemas["StartRequest"]["properties"] |= {"restart": restart, "health_check": check}
    # The limits prevent a fork in every millisecond and connections to every port.
    restart["required"] = BACKOFF
    for name in BACKOFF:
        restart["properties"][name]["minimum"] = SHORTEST_BACKOFF
    check["properties"]["port"] = {"enum": [1]}
    return narrowed


def is_harmless(body):
    """Return whether a body, valid or not, starts no harmful program."""
    if not isinstance(body, dict):
        return True
    restart = body.get("restart")
    pauses = [restart.get(name, 0) for name in BACKOFF] if isinstance(restart, dict) else []
    quick = any(pause in range(SHORTEST_BACKOFF) for pause in pauses)
    return body.get("command") in HARMLESS and not quick


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_response_conforms_to_the_openapi_document(busy, operation, mode):
    method, path = operation.split()
    schema = schemathesis.openapi.from_dict(made_harmless(busy, path))
    options = {
        "headers": {"Authorization": f"Bearer {busy.sandbox.api_key.reveal()}"},
        "timeout": 10,
    }

    @settings(
        max_examples=CASES // len(OPERATIONS) // 2 + 2,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[f"/api/v1{path}"][method].as_strategy(generation_mode=mode))
    def send(case):
        assume("command" not in str(case.body) or is_harmless(case.body))
        case.call_and_validate(busy.sandbox.url, checks=CHECKS, **options)

    send()


def test_server_is_healthy_after_all_requests(busy):
    assert busy.call("GET", "/health").json() == {"healthy": True}
    server = psutil.Process(busy.sandbox.pid)
    assert not [child for child in server.children() if child.status() == psutil.STATUS_ZOMBIE]
