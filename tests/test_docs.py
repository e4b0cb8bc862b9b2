"""The README and the figures in the documents agree with the code and the measurements."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def test_readme_shows_the_output_that_its_example_test_prints():
    command = [sys.executable, "tools/readme.py", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert checked.returncode == 0, checked.stderr


def test_readme_names_every_option_and_fixture():
    from pytest_tlsandbox import plugin, settings

    fixtures = [name for name in vars(plugin) if name.startswith("tlsandbox")]

    for name in [*fixtures, *(option.flag for option in settings.OPTIONS)]:
        assert f"`{name}" in text_of("README.md"), name


def test_all_pages_of_the_docs_state_the_same_number_of_faults():
    faults = r"in (\d+) scenes x (\d+) helpers = ([\d,]+)"
    [(scenes, helpers, outcomes)] = re.findall(faults, text_of("docs/faults.md"))

    for page in ("README.md", "docs/contributing/tried.md"):
        assert f"{scenes} x {helpers} = {outcomes}" in text_of(page)


def test_docs_state_the_measured_cost_of_an_unused_plugin():
    def milliseconds(page, start, after):
        row = rf"^\| {re.escape(start)}.*?{after}(\d+) ms"
        return int(re.search(row, text_of(page), re.MULTILINE)[1])

    without, with_it = (
        milliseconds("benchmarks/results.md", start, ".* ")
        for start in ("empty folder", "the same with it |")
    )
    stated = milliseconds("docs/cost.md", "`pytest-tlsandbox`", r"\| ")

    assert stated == pytest.approx(with_it - without, abs=2, rel=0.1)
