"""A real Chromium, and a real run that it shows. ``make browser`` uses a separate environment."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_tlsandbox.report.__main__ import main

ROOT = Path(__file__).parent.parent.parent
SITE = ROOT / "build" / "site"
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser():
    """Start the Chromium of this machine; end the run if it has none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.exit(f"no browser: none of {', '.join(NAMES)} is on PATH", returncode=4)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def show(browser, tmp_path):
    """Return a function that opens a page and fails if it logs an error or requests another file.

    A page of the documentation may request other files of the site.
    """
    complaints, requested, opened = [], set(), set()

    def open_page(report, fragment="", **options):
        path = report if isinstance(report, Path) else written(report, tmp_path / "page.html")
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requested.add(request.url.partition("#")[0]))
        opened.add(path.as_uri())
        page.goto(path.as_uri() + fragment)
        return page

    yield open_page
    requested = {url for url in requested if not url.startswith(("data:", "blob:", SITE.as_uri()))}
    assert (complaints, requested) == ([], {url for url in opened if SITE.as_uri() not in url})
    for context in browser.contexts:
        context.close()


def written(report, path):
    """Write the page of a report as ``python -m pytest_tlsandbox.report`` does."""
    path.with_suffix(".json").write_text(json.dumps(report))
    main([str(path.with_suffix(".json")), str(path)])
    return path


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """Run the suite whose server is OOM-killed and restarted; return the report and its page."""
    folder = tmp_path_factory.mktemp("shop")
    command = [sys.executable, "-m", "pytest", "-c", "examples/pytest.ini", f"--rootdir={ROOT}"]
    command += ["tests/browser/shop.py", "--tlsandbox-guard=oom,crash,restart"]
    command += ["-p", "no:cacheprovider", f"--tlsandbox-report={folder / 'run.json'}"]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=100)
    document = json.loads((folder / "run.json").read_text())
    return document, written(document, folder / "page.html")
