"""Test the script of `make kernel` without QEMU."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "tools/kernel.py"
NEEDS = "make kernel needs Debian packages: apt-get install --no-install-recommends qemu-system-x86"


@pytest.mark.parametrize(
    ("option", "status", "message"),
    [([], 1, NEEDS), (["--skip-if-missing"], 0, f"skipped: {NEEDS}")],
    ids=["alone", "nightly"],
)
def test_make_kernel_names_the_missing_packages(option, status, message):
    done = subprocess.run(
        [sys.executable, SCRIPT, *option], env={"PATH": ""}, capture_output=True, text=True
    )

    assert done.returncode == status
    assert (done.stdout + done.stderr).startswith(message)
