"""Check with schemathesis that every response conforms to the OpenAPI document.

``make schemathesis`` runs this module in a separate environment: schemathesis is a pytest plugin,
and every run of pytest inside the other tests would import it.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks
from schemathesis.generation import GenerationMode

from tests.local.openapi import OPERATIONS, document

from .conftest import Api, new_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = int(os.environ.get("CASES", "500"))
CHECKS: Any = [
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
SHORTEST_BACKOFF = 600_000
"""Milliseconds. The API accepts less: such a body is not sent, since it is not wrong."""
SENT: list[int] = []
UNKNOWN = ["0", "999999", "4294967296", "nobody", "a%2Fb", "%FF", "100%25"]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Start a sandbox for all tests, and print the number of requests.

    Its working folder is a temporary folder, because the requests write and delete files in it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("files"))
        with new_sandbox(memory_limit=256 << 20) as api:
            yield api
    print(f"\n{sum(SENT)} cases sent")


def pool(api: Api) -> tuple[list[str], list[str]]:
    """Start processes; return the selectors of the running and of the ended processes."""
    living = [api.start("cat", stdin_mode="pipe"), api.start("sleep", "600")]
    api.call("POST", "/processes", json={"command": "cat", "stdin_mode": "pipe", "name": "web"})
    ended = [api.start("sh", "-c", "echo out; echo err >&2; exit 3"), api.start("true", restart={})]
    for pid in ended:
        api.ended(pid)
    return [*map(str, living), "web"], [str(pid) for pid in ended]


def made_harmless(api: Api, path: str) -> Any:
    """Limit the document to requests that reach a process or file and cannot harm this machine."""
    narrowed = json.loads(json.dumps(document()))
    living, ended = pool(api)
    # The stream of a running process would never end.
    meant = [*ended, *UNKNOWN] if path.endswith("/follow") else [*living, *ended, *UNKNOWN]
    for item in narrowed["paths"].values():
        for parameter in item.get("parameters", ()):
            if parameter["name"] == "process":
                parameter["schema"] = {"enum": meant}
    schemas = narrowed["components"]["schemas"]
    for body in (schemas["StartRequest"], schemas["RunRequest"]):
        body["properties"]["command"] = {"enum": HARMLESS}
    restart, check = (json.loads(json.dumps(schemas[name])) for name in ("Restart", "HealthCheck"))
    schemas["StartRequest"]["properties"] |= {"restart": restart, "health_check": check}
    # The limits prevent a fork in every millisecond and connections to every port.
    restart["required"] = ["initial_backoff_ms", "max_backoff_ms"]
    for name in restart["required"]:
        restart["properties"][name]["minimum"] = SHORTEST_BACKOFF
    check["properties"]["port"] = {"enum": [1]}
    return narrowed


def is_harmless(body: Any) -> bool:
    """Return whether a body, valid or not, starts no harmful program."""
    if not isinstance(body, dict):
        return True
    restart = body.get("restart")
    quick = isinstance(restart, dict) and any(
        restart.get(name, 0) in range(SHORTEST_BACKOFF)
        for name in ("initial_backoff_ms", "max_backoff_ms")
    )
    return body.get("command") in HARMLESS and not quick


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_response_conforms_to_the_openapi_document(
    busy: Api, operation: str, mode: GenerationMode
) -> None:
    method, path = operation.split()
    schema = schemathesis.openapi.from_dict(made_harmless(busy, path))
    headers = {"Authorization": f"Bearer {busy.sandbox.api_key.reveal()}"}
    sent = 0

    @settings(
        max_examples=CASES // len(OPERATIONS) // 2 + 2,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[f"/api/v1{path}"][method].as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        nonlocal sent
        if "command" in json.dumps(str(case.body)) and not is_harmless(case.body):
            return
        sent += 1
        case.call_and_validate(
            base_url=busy.sandbox.url, headers=headers, checks=CHECKS, timeout=10
        )

    send()
    assert sent
    SENT.append(sent)


def test_server_is_healthy_after_all_requests(busy: Api) -> None:
    assert busy.call("GET", "/health").json() == {"healthy": True}
    server = psutil.Process(busy.sandbox.pid)
    assert not [child for child in server.children() if child.status() == psutil.STATUS_ZOMBIE]
