"""Run the contract on a sandbox: ``python -m tests.contract TARGET [--oom]`` (see README.md)."""

import argparse
import os
import sys
from pathlib import Path

import pytest

from pytest_tlsandbox.client.address import check_key, locate
from pytest_tlsandbox.errors import InvalidSetting
from pytest_tlsandbox.redact import Secret

from .results import Results
from .sandbox_api import SandboxApi

ANNOUNCEMENT = """\
This run checks about 80 facts on {target}. It takes about a minute.
It starts about 200 small processes (sh, sleep, true), and kills those that it started; their rows may stay in the list.
It writes files below /tmp/contract-*, and deletes them.
Its requests keep the sandbox awake, and wake it up if it is suspended.
"""
ANNOUNCED_OOM = "It fills the memory of the sandbox twice, so the kernel may kill any process there.\n"  # fmt: skip


def main():
    """Run the contract, write the results, and return 0 if the run was complete."""
    parser = argparse.ArgumentParser("python -m tests.contract", description=__doc__)
    parser.add_argument("target", help="the id, the name or the URL of a sandbox")
    parser.add_argument("--oom", action="store_true", help="also fill the memory of the sandbox")
    parser.add_argument("-k", default="", help="run only some of the tests, as in pytest")
    options = parser.parse_args()
    try:
        address = locate(options.target)
        given = Secret(os.environ.get("TENSORLAKE_API_KEY", ""))
        key = check_key(given, address, "TENSORLAKE_API_KEY")
    except InvalidSetting as error:
        parser.error(str(error))
    print(ANNOUNCEMENT.format(target=options.target) + ANNOUNCED_OOM * options.oom, flush=True)
    api = SandboxApi(address.url, key.reveal(), address.headers, may_exceed_memory=options.oom)
    results = Results(options.target, api)
    folder = Path(__file__).parent
    quiet = ["-q", "--no-header", "--tb=no", "-rN", "-p", "no:cacheprovider"]
    chosen = ["-m", "", "-k", options.k, f"--rootdir={folder.parent.parent}", str(folder)]
    status = pytest.main([*quiet, *chosen], [results])
    print(results.write({key.reveal(): "<key>", address.url: "<target>"}))
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
