"""Collect the pages of the documentation site in build/pages, from which Zensical builds it.

The home page is the README. Links that leave ``docs`` are changed: a linked page of Markdown becomes
a page of the site, another linked file is copied, and a link to a folder becomes plain text.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from pages import ROOT

DOCS = ROOT / "docs"
PAGES = ROOT / "build" / "pages"
README = ROOT / "README.md"
LINK = re.compile(r"(?<=\])\(([^)\s:#]+)((?:#[^)\s]*)?)\)")
NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
"""Before a page that is not one of the documents."""
FENCED = re.compile(r"(^ *```.*?^ *```)", re.DOTALL | re.MULTILINE)


def place_of(source: Path) -> Path:
    """Return the path of a file on the site, relative to its root."""
    if source == README:
        return Path("index.md")
    if source.is_relative_to(DOCS):
        return source.relative_to(DOCS)
    return "repository" / source.relative_to(ROOT)


def collect(source: Path, done: set[Path]) -> None:
    """Copy a file and, if it is a page, every file that the page links to."""
    if source in done:
        return
    done.add(source)
    target = PAGES / place_of(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".md":
        shutil.copyfile(source, target)
        return

    def link(found: re.Match[str]) -> str:
        linked = (source.parent / found[1]).resolve()
        if linked.is_dir():
            return ""
        collect(linked, done)
        return f"({os.path.relpath(place_of(linked), place_of(source).parent)}{found[2]})"

    text = source.read_text(encoding="utf-8")
    parts = [
        part if part.startswith("```") else LINK.sub(link, part) for part in FENCED.split(text)
    ]
    head = NOT_SEARCHED if target.is_relative_to(PAGES / "repository") else ""
    target.write_text(head + "".join(parts), encoding="utf-8")


def main() -> None:
    """Collect all pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    done: set[Path] = set()
    for source in (README, *DOCS.rglob("*.md"), *DOCS.rglob("*.js")):
        collect(source, done)


if __name__ == "__main__":
    main()
