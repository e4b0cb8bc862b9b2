"""The documentation site in a real Chromium, opened from files: ``make site-browser`` builds it first."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

SITE = Path(__file__).parent.parent.parent / "build" / "site"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
PAGES.remove("404.html")  # its addresses begin with the host
LINKS = """() => [...document.querySelectorAll("a[href], img[src], link[rel=stylesheet], script[src]")]
    .map((each) => each.href || each.src)"""
CONTRAST = """() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => parts(colour).slice(0, 3).map((value) => value / 255)
        .map((value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const pair = [getComputedStyle(document.querySelector("article p")).color,
        getComputedStyle(document.body).backgroundColor].map(light).sort();
    return (pair[1] + 0.05) / (pair[0] + 0.05);
}"""
"""The contrast between a paragraph and the page."""


@pytest.fixture
def tab(browser):
    """Return a function that opens a page and fails if it logs anything or asks another host."""
    complaints = []
    context = browser.new_context()

    def open_page(name, width=1280, scheme="light"):
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: check(request.url))
        page.goto((SITE / name).as_uri())
        return page

    def check(url):
        if not url.startswith(("file:", "data:", "blob:")):
            complaints.append(url)

    yield open_page
    assert complaints == []
    context.close()


@cache
def anchors(page):
    """Return the ids of a page."""
    return set(re.findall(r"\bid=[\"']?([^\s\"'>]+)", page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", PAGES)
def test_page_has_no_broken_link_and_fits_a_phone(name, tab):
    page = tab(name, width=390)

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for link in page.evaluate(LINKS):
        address, anchor = urldefrag(link)
        if address.startswith("file:"):
            target = Path(unquote(address.removeprefix("file://")))
            assert target.is_file(), link
            assert not anchor or unquote(anchor) in anchors(target), link


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_themes(scheme, tab):
    page = tab("index.html", scheme=scheme)

    expected = {"light": "default", "dark": "slate"}[scheme]
    assert page.locator("body").get_attribute("data-md-color-scheme") == expected
    assert page.evaluate(CONTRAST) >= 7


def test_search_finds_a_helper_without_a_network(tab):
    page = tab("index.html")
    page.keyboard.press("Control+k")
    page.get_by_text("Loading search").wait_for(state="hidden")
    page.get_by_placeholder("Search").fill("wait_for_port")

    page.get_by_text("Wait until a process accepts TCP connections").wait_for()


def test_machines_find_plain_markdown_of_each_page():
    listed = (SITE / "llms.txt").read_text(encoding="utf-8")
    for name in PAGES:
        if not name.startswith("repository/"):
            text = (SITE / name).with_suffix(".md")
            assert text.read_text(encoding="utf-8").startswith("# "), name
            assert f"/{text.relative_to(SITE).as_posix()}>" in listed
