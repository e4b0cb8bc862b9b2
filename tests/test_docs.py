"""The documents show what happens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_readme_shows_what_its_test_prints():
    checked = subprocess.run(
        [sys.executable, "tools/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stderr


def test_the_readme_names_every_option_and_fixture():
    from pytest_tlsandbox import plugin, settings

    text = (ROOT / "README.md").read_text()
    fixtures = [name for name in vars(plugin) if name.startswith("tlsandbox")]

    for name in [*fixtures, *(option.flag for option in settings.OPTIONS)]:
        assert f"`{name}" in text, name
