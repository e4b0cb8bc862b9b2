"""The suite of the shop runs unchanged on a fake of the service."""

import os
from pathlib import Path

from tests.fakes.daemon import serving
from tests.fakes.service import KEY, Service

ROOT = Path(__file__).parent.parent


def test_example_test_suite_of_the_shop_passes_on_a_fake_service(monkeypatch, forks):
    monkeypatch.setenv("TENSORLAKE_API_KEY", KEY)
    with serving(Service()) as url:
        options = [
            "examples/test_shop.py", f"--tlsandbox={url}", "--tlsandbox-guard=oom,crash,restart,leak",
            "-q", "-n0", "-p", "no:cacheprovider", "-p", "no:hypothesispytest",
        ]  # fmt: skip
        result = forks.run(options, ROOT, os.environ)

    result.assert_outcomes(passed=5)
