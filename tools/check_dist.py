"""Check that the wheel and the sdist in ``dist`` contain all necessary files, and no others.

``python -m build`` creates them; ``twine check --strict`` checks their metadata for the registry.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "pytest_tlsandbox"
SOURCES = [PACKAGE, "examples", "tests", "tools", "docs", "benchmarks"]
"""The folders that a packager needs to run the tests, or that the documents link to."""
FILES = ["LICENSE", "Makefile", "README.md", "conftest.py", "zensical.toml"]
FILES += ["CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md"]


def tracked(folder: str) -> set[str]:
    """Return the files of a folder of the checkout, without those that git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def missing(archive: Path, names: Iterable[str], wanted: set[str]) -> list[str]:
    """Return a problem for each wanted file that the names in an archive do not contain."""
    return [f"{archive.name}: missing: {name}" for name in sorted(wanted - set(names))]


def main() -> None:
    """Check the only wheel and the only sdist."""
    (wheel,) = (ROOT / "dist").glob("*.whl")
    (sdist,) = (ROOT / "dist").glob("*.tar.gz")
    license_file = f"{wheel.name.rpartition('-py3')[0]}.dist-info/licenses/LICENSE"
    package = tracked(PACKAGE)
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    wrong = missing(wheel, names, package | {license_file})
    wrong += [
        f"{wheel.name}: not in the package: {name}"
        for name in sorted(set(names) - package)
        if ".dist-info/" not in name
    ]
    with tarfile.open(sdist) as packed:
        names = [name.partition("/")[2] for name in packed.getnames()]
    wrong += missing(sdist, names, {*FILES, *(name for each in SOURCES for name in tracked(each))})
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{wheel.name} and {sdist.name} are complete")


if __name__ == "__main__":
    main()
