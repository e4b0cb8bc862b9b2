"""Take the picture in the README: run the examples and a failing suite on ``local``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "timeline.png"
SUITES = ["examples", "tests/browser/shop.py"]
# The OOM kill in this example is deliberate, and would be another finding in the picture.
LEFT_OUT = "examples/test_two_sandboxes.py"


def main() -> None:
    """Run the suites, and take the picture."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "out.html"
        command = [sys.executable, "-m", "pytest", "-q", "-c", "examples/pytest.ini"]
        command += [
            f"--rootdir={ROOT}",
            *SUITES,
            f"--deselect={LEFT_OUT}",
            "-p",
            "no:cacheprovider",
        ]
        command += ["--tlsandbox-guard=oom,restart", f"--tlsandbox-report={page}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 1:
            sys.exit(f"the suite with trouble should fail, and pytest said:\n{done.stdout}")
        shoot(page)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB")


def shoot(page: Path) -> None:
    """Take a picture of the top of a page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        tab = browser.new_page(viewport={"width": 1200, "height": 650}, color_scheme="light")
        tab.goto(page.as_uri())
        tab.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main()
