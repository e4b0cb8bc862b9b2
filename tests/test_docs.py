"""The README and the figures in the documents agree with the code and the measurements."""

import re
import subprocess
import sys

import pytest

import pytest_tlsandbox
from pytest_tlsandbox import errors, plugin, settings, testing
from tools.pages import ROOT


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def test_readme_shows_the_output_that_its_example_test_prints():
    command = [sys.executable, "tools/readme.py", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert checked.returncode == 0, checked.stderr


def test_readme_has_at_most_7_kilobytes():
    assert len(text_of("README.md").encode()) <= 7_000


def test_reference_names_every_option_fixture_marker_and_helper():
    fixtures = [name for name in vars(plugin) if name.startswith("tlsandbox")]
    markers = [text.partition("(")[0] for text in settings.MARKERS]
    helpers = [name for name in dir(pytest_tlsandbox.Sandbox) if name[0] != "_"]

    assert all(f"`{name}" in text_of("docs/reference/fixtures.md") for name in fixtures + markers)
    for key, option in settings.OPTIONS.items():
        for name in (settings.flag_of(key), key, option.environment or ""):
            assert f"`{name}" in text_of("docs/reference/options.md"), name
    unnamed = [name for name in helpers if f"`{name}" not in text_of("docs/reference/helpers.md")]
    assert unnamed == ["from_now", "kill_started"]


def test_api_page_contains_every_public_name():
    names = {*pytest_tlsandbox.__all__, *testing.__all__} - {"__version__", *vars(errors)}

    assert names <= set(re.findall(r"^::: .+\.(\w+)$", text_of("docs/reference/api.md"), re.M))


def test_docs_state_the_number_of_faults_that_were_tested():
    faults = r"in (\d+) scenes x (\d+) helpers = ([\d,]+)"
    [(scenes, helpers, outcomes)] = re.findall(faults, text_of("docs/contributing/faults.md"))

    assert f"{scenes} x {helpers} = {outcomes}" in text_of("docs/contributing/tried.md")


def test_docs_state_the_measured_cost_of_an_unused_plugin():
    def milliseconds(page, start, after):
        row = rf"^\| {re.escape(start)}.*?{after}(\d+) ms"
        return int(re.search(row, text_of(page), re.MULTILINE)[1])

    rows = ("empty folder", "the same with it |")
    without, with_it = (milliseconds("benchmarks/results.md", row, ".* ") for row in rows)
    stated = milliseconds("docs/explanation/cost.md", "`pytest-tlsandbox`", r"\| ")

    assert stated == pytest.approx(with_it - without, abs=2, rel=0.1)
