"""Playwright's expect(locator), Python, Debian's chromium, on a page that shows the made-up sandbox's list."""

import pytest
from playwright.sync_api import expect, sync_playwright

expect.set_options(timeout=10_000)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def processes(browser, box_url):
    page = browser.new_page()
    page.set_default_timeout(10_000)

    def look():
        page.goto(box_url)
        return page

    yield look
    page.close()


def status(page, text):
    return page.locator("tr", has_text=text).locator(".status")


CASES = [
    ("1-oom", "train.py", "exited 0"),
    ("2-exit3", "train.py", "exited 0"),
    ("3-typo", "trian.py", "running"),
    ("4-running", "train.py", "exited 0"),
    ("5-ended", "server.py", "running"),
    ("6-vanished", "train.py", "exited 0"),
    ("7-several", "train.py", "exited 0"),
    ("8-502", "train.py", "exited 0"),
]


@pytest.mark.parametrize(("name", "text", "wanted"), CASES, ids=[c[0] for c in CASES])
def test(processes, scenario, name, text, wanted):
    scenario(name)
    expect(status(processes(), text)).to_have_text(wanted)


def test_9_restart(processes, scenario):
    scenario("9-restart")
    page = processes()
    page.wait_for_timeout(1200)
    expect(status(page, "web.py")).to_have_text("running")


def test_10_plain(processes, scenario):
    scenario("10-soft")
    page = processes()
    expect(status(page, "api.py")).to_have_text("running")
    expect(status(page, "worker.py")).to_have_text("running", timeout=1000)
    expect(status(page, "train.py")).to_have_text("exited 0", timeout=1000)


def test_10_soft(processes, scenario):
    scenario("10-soft")
    page = processes()
    expect.soft(status(page, "api.py")).to_have_text("running")
    expect.soft(status(page, "worker.py")).to_have_text("running", timeout=1000)
    expect.soft(status(page, "train.py")).to_have_text("exited 0", timeout=1000)
