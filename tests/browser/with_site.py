"""The documentation site in a real Chromium, opened from files: ``make site-browser`` builds it first."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from .colors import contrast
from .conftest import SITE

PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
PAGES.remove("404.html")  # its addresses begin with the host
LINKS = """() => [...document.querySelectorAll("a[href], img[src], link[rel=stylesheet], script[src]")]
    .map((each) => each.href || each.src)"""
COLORS = """() => ["color", "backgroundColor"].map((name, index) =>
    getComputedStyle([document.querySelector("article p"), document.body][index])[name])"""
"""The colors of a paragraph and of the page."""


@cache
def anchors(page):
    """Return the ids of a page."""
    return set(re.findall(r"\bid=[\"']?([^\s\"'>]+)", page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", PAGES)
def test_page_has_no_broken_link_and_fits_a_phone(name, show):
    page = show(SITE / name, viewport={"width": 390, "height": 900})

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for link in page.evaluate(LINKS):
        address, anchor = urldefrag(link)
        if address.startswith("file:"):
            target = Path(unquote(address.removeprefix("file://")))
            assert target.is_file(), link
            assert not anchor or unquote(anchor) in anchors(target), link


@pytest.mark.parametrize(("scheme", "theme"), [("light", "default"), ("dark", "slate")])
def test_text_is_readable_in_both_themes(scheme, theme, show):
    page = show(SITE / "index.html", color_scheme=scheme)

    assert page.locator("body").get_attribute("data-md-color-scheme") == theme
    text, paper = [re.findall(r"[\d.]+", color)[:3] for color in page.evaluate(COLORS)]
    assert contrast([*map(float, text)], [*map(float, paper)]) >= 7


def test_search_finds_a_helper_without_a_network(show):
    page = show(SITE / "index.html")
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
