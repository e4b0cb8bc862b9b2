"""The documents show what happens."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_the_figures_of_the_faults_are_those_of_their_page():
    text = (ROOT / "docs" / "faults.md").read_text()
    [(scenes, helpers, outcomes)] = re.findall(r"in (\d+) scenes x (\d+) helpers = ([\d,]+)", text)

    for page in ("README.md", "docs/tried.md"):
        assert f"{scenes} x {helpers} = {outcomes}" in (ROOT / page).read_text()


def test_the_figures_of_the_mutants_are_those_of_their_page():
    text = (ROOT / "docs" / "mutants.md").read_text()
    [(total, killed)] = re.findall(r"\| \*\*all\*\* \| (\d+) \| (\d+) \|", text)

    for page in ("README.md", "docs/tried.md"):
        assert f"{int(killed):,} of {int(total):,}" in (ROOT / page).read_text()


@pytest.mark.parametrize(
    ("installed", "measured"),
    [
        ("`pytest-tlsandbox`", "the same with it"),
        ("`pytest-tlsandbox[local]`", "the same with `[local]`, which brings anyio and its plugin"),
        ("the same, with `addopts", "the same with `[local]` and `-p no:anyio`"),
    ],
)
def test_the_stated_cost_of_an_unused_plugin_is_the_measured_one(installed, measured):
    results = (ROOT / "benchmarks" / "results.md").read_text()
    page = (ROOT / "docs" / "cost.md").read_text()
    without, with_it = (
        int(re.search(rf"^\| {re.escape(start)}.* (\d+) ms \|$", results, re.MULTILINE)[1])
        for start in ("empty folder", f"{measured} |")
    )
    stated = int(re.search(rf"^\| {re.escape(installed)}.*?\| (\d+) ms", page, re.MULTILINE)[1])

    assert stated == pytest.approx(with_it - without, abs=2, rel=0.1)


def block(language, having):
    blocks = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (found,) = [text for text in blocks if having in text]
    return found


def run_pytest(folder, *options):
    command = [sys.executable, "-m", "pytest", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_what_the_guards_page_allows_is_allowed(tmp_path):
    text = (ROOT / "docs" / "guard.md").read_text()
    [code] = re.findall(r"<!-- run: guard.md -->\n```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "test_it.py").write_text(code + "\n\ndef test_last(): pass\n")

    run = run_pytest(tmp_path, "--tlsandbox=local", "--tlsandbox-guard=crash,leak")

    assert run.returncode == 0, run.stdout
    assert "allowed: the daemon is to outlive its parent" in run.stdout
    assert "allowed: the handler is under test" in run.stdout


@pytest.mark.parametrize("table", ["tool.pytest.ini_options", "tool.pytest"])
def test_the_settings_of_the_readme_are_taken(tmp_path, table):
    if table == "tool.pytest" and int(pytest.__version__.partition(".")[0]) < 9:
        pytest.skip("this table is read from pytest 9 on")
    text = block("toml", "tlsandbox_memory").replace("tool.pytest.ini_options", table)
    (tmp_path / "pyproject.toml").write_text(text)
    (tmp_path / "test_it.py").write_text(
        "def test_it(tlsandbox_local): assert tlsandbox_local.memory_limit == 512 * 2**20"
    )

    run = run_pytest(tmp_path)

    assert run.returncode == 0, run.stdout
    assert "\ntlsandbox: local\n" in run.stdout
