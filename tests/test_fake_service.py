"""The suite of the shop runs unchanged on a fake of the service."""

import subprocess
import sys
from pathlib import Path

from tests.fake_service import KEY, fake_service

ROOT = Path(__file__).parent.parent


def test_example_test_suite_of_the_shop_passes_on_a_fake_service(monkeypatch):
    monkeypatch.setenv("TENSORLAKE_API_KEY", KEY)
    with fake_service() as url:
        command = [
            sys.executable, "-m", "pytest", "examples/test_shop.py", f"--tlsandbox={url}",
            "--tlsandbox-guard=oom,crash,restart,leak", "-q", "-n0", "-p", "no:cacheprovider",
        ]  # fmt: skip
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert result.stdout.rstrip().splitlines()[-1].startswith("5 passed"), (
        result.stdout + result.stderr
    )
