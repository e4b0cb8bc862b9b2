"""A release is refused until it is ready, and the workflows run only what is pinned."""

import re
import subprocess
from pathlib import Path

import pytest

from tools import release

ROOT = Path(__file__).parent.parent


@pytest.fixture
def ready(tmp_path):
    """Return a checkout of version 1.2.3 that can be released."""
    (tmp_path / "pytest_tlsandbox").mkdir()
    (tmp_path / "pytest_tlsandbox/__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n\n## [1.2.3] - 2027-01-31\n")
    (tmp_path / "pyproject.toml").write_text('Repository = "https://example.org"\n')
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "Begin"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_release_is_refused_until_everything_is_ready(ready):
    assert release.problems(ready) == release.problems(ready, "v1.2.3") == []

    (ready / "CHANGELOG.md").write_text("## [Unreleased]\n\n## [1.2.2] - 2027-01-31\n")
    (ready / "pyproject.toml").write_text(f'Repository = "https://{release.PLACEHOLDER}"\n')

    assert release.problems(ready, "v1.2.4") == [
        "the working tree has changes: commit or remove them (git status)",
        "CHANGELOG.md has no section '## [1.2.3] - <year>-<month>-<day>'",
        "pyproject.toml contains the placeholder repository.invalid: see CONTRIBUTING.md",
        "the tag is v1.2.4, but the version is 1.2.3",
    ]


WORKFLOWS = [*(ROOT / ".github/workflows").glob("*"), *(ROOT / "examples/ci").glob("*")]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_action_of_a_workflow_is_pinned_by_commit(path):
    used = re.findall(r"\buses: (.+)", path.read_text(encoding="utf-8"))

    assert used
    for action in used:
        assert re.fullmatch(r"\./\S+|[\w/-]+@[0-9a-f]{40} # v[\d.]+", action), action
