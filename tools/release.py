"""Refuse a release that is not ready, or print the steps that are left for a person.

``make release`` first calls this script with the tag to publish, if there is one, and at the end
with ``--left``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACEHOLDER = "repository.invalid"
LEFT = """
dist/ contains pytest-tlsandbox {version}. The following steps are left:
  1. Check that CI passed for this commit on main.
  2. git tag --sign v{version} --message v{version}
  3. git push origin v{version}     # starts .github/workflows/publish.yml
  4. Approve the environment "pypi", when the workflow asks for it.
  5. Create the release on GitHub, with the section {version} of CHANGELOG.md as its text.
"""


def version_of(root: Path) -> str:
    """Return the version, which only the package states."""
    text = (root / "pytest_tlsandbox/__init__.py").read_text(encoding="utf-8")
    [version] = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return str(version)


def problems(root: Path, tag: str | None = None) -> list[str]:
    """Return why the checkout cannot be released.

    Args:
        root: the root of the checkout.
        tag: the tag that is published; None if it does not exist yet.

    Returns:
        One line for each problem.

    """
    version = version_of(root)
    found = []
    status = ["git", "status", "--porcelain"]
    if subprocess.run(status, cwd=root, capture_output=True, text=True, check=True).stdout:
        found.append("the working tree has changes: commit or remove them (git status)")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    if not re.search(heading, changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md has no section '## [{version}] - <year>-<month>-<day>'")
    if PLACEHOLDER in (root / "pyproject.toml").read_text(encoding="utf-8"):
        found.append(f"pyproject.toml contains the placeholder {PLACEHOLDER}: see CONTRIBUTING.md")
    if tag not in (None, f"v{version}"):
        found.append(f"the tag is {tag}, but the version is {version}")
    return found


def main() -> None:
    """Print the steps that are left, or exit with the problems."""
    if "--left" in sys.argv:
        print(LEFT.format(version=version_of(ROOT)))
    elif found := problems(ROOT, *sys.argv[1:]):
        sys.exit("\n".join(["make release refuses:", *(f"- {problem}" for problem in found)]))


if __name__ == "__main__":
    main()
