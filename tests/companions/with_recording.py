"""vcrpy: the conftest.py of docs/how-to/test-helpers.md records a sandbox and replays it."""

import re
from pathlib import Path

from pytest_tlsandbox.local.sandbox import start_local_sandbox

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test-helpers.md"
MARK = "run by tests/companions/with_recording.py"


TEST = """
def test_it(tlsandbox):
    job = tlsandbox.run_process("sh", ["-c", "echo ready; exit 3"], exit_code=3, timeout=10)
    assert tlsandbox.output(job) == ["ready"]
"""


def test_recorded_session_can_be_replayed_without_a_sandbox_or_a_key(run, pytester, monkeypatch):
    page = PAGE.read_text("utf-8")
    [code] = re.findall(rf"<!-- {re.escape(MARK)} -->\n```python\n(.*?)```", page, re.DOTALL)
    pytester.makeconftest(code)
    with start_local_sandbox(identifier="my-sandbox") as sandbox:
        monkeypatch.setenv("TENSORLAKE_SANDBOX_PROXY_URL", sandbox.url)
        monkeypatch.setenv("TENSORLAKE_API_KEY", sandbox.api_key.reveal())
        run(TEST, "").assert_outcomes(passed=1)

    cassette = (pytester.path / "sandbox.yaml").read_text(encoding="utf-8")
    assert "/api/v1/processes" in cassette
    assert sandbox.api_key.reveal() not in cassette

    monkeypatch.setenv("TENSORLAKE_API_KEY", "another-key")
    run(TEST, "").assert_outcomes(passed=1)
