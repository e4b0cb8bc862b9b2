"""Check that the wheel and the sdist in ``dist`` contain all necessary files, and no others.

``python -m build`` creates them; ``twine check --strict`` checks their metadata for the registry.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "pytest_tlsandbox"
SOURCES = [PACKAGE, "examples", "tests", "tools", "docs", "benchmarks"]
"""The folders that a packager needs to run the tests, or that the documents link to."""
FILES = ["CHANGELOG.md", "LICENSE", "Makefile", "README.md", "conftest.py"]


def tracked(folder: str) -> set[str]:
    """Return the files of a folder of the checkout, without those that git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def check_wheel(wheel: Path) -> list[str]:
    """Return the problems of a wheel."""
    version = wheel.name.split("-")[1]
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        info = f"{PACKAGE}-{version}.dist-info"
        metadata = message_from_bytes(archive.read(f"{info}/METADATA"))
        points = archive.read(f"{info}/entry_points.txt").decode()
    code = {name for name in inside if not name.startswith(f"{info}/")}
    wrong = [f"missing: {name}" for name in sorted(tracked(PACKAGE) - code)]
    wrong += [f"not in the package: {name}" for name in sorted(code - tracked(PACKAGE))]
    for name in ("py.typed", "report/report-2.schema.json", "checks/test_health.py"):
        if f"{PACKAGE}/{name}" not in inside:
            wrong.append(f"missing: {name}")
    if f"{info}/licenses/LICENSE" not in inside:
        wrong.append("missing: LICENSE")
    if f"[pytest11]\n{PACKAGE} = {PACKAGE}" not in points:
        wrong.append(f"entry point: {points}")
    expected = {
        "Name": "pytest-tlsandbox",
        "Requires-Python": ">=3.10",
        "License-Expression": "MIT",
    }
    wrong += [
        f"{key}: expected {value!r}, got {metadata[key]!r}"
        for key, value in expected.items()
        if metadata[key] != value
    ]
    if "Framework :: Pytest" not in metadata.get_all("Classifier", []):
        wrong.append(
            "classifier 'Framework :: Pytest' is missing: pytest lists only plugins with it"
        )
    if f'__version__ = "{metadata["Version"]}"' not in (ROOT / PACKAGE / "__init__.py").read_text():
        wrong.append(f"version: {metadata['Version']} differs from __init__.py")
    return wrong


def check_sdist(sdist: Path) -> list[str]:
    """Return the problems of a source distribution."""
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {*FILES, *(name for folder in SOURCES for name in tracked(folder))}
    return [f"missing: {name}" for name in sorted(wanted - inside)]


def main() -> None:
    """Check the only wheel and the only sdist."""
    (wheel,) = (ROOT / "dist").glob("*.whl")
    (sdist,) = (ROOT / "dist").glob("*.tar.gz")
    wrong = [f"{wheel.name}: {problem}" for problem in check_wheel(wheel)]
    wrong += [f"{sdist.name}: {problem}" for problem in check_sdist(sdist)]
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{wheel.name} and {sdist.name} are complete")


if __name__ == "__main__":
    main()
