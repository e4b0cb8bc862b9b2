"""Shared by the tools that write a page from a real run: a failing pytest run, and ``--check``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent


def failing_pytest(folder: Path, *options: str) -> str:
    """Run pytest at 80 columns; some tests must fail. Return the output."""
    kept = {name: os.environ[name] for name in os.environ.keys() - {"CI", "TLSANDBOX"}}
    plugins = ("-p", "pytest_tlsandbox", "-p", "no:cacheprovider")  # others take 0.4 s to load
    environment = {**kept, "COLUMNS": "80", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options],
        cwd=folder,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 1:
        sys.exit(f"these tests must fail; output of pytest:\n{done.stdout}{done.stderr}")
    return done.stdout


def without_numbers(text: str) -> str:
    """Replace text that differs from run to run: times, pids, counts, and the padding of lines."""
    text = re.sub(r"\d+(\.\d+)?( ms| s)?", "N", text)
    text = re.sub(r"\S*… \+N", "…", text)  # the length of a pid decides where a line is cut
    return re.sub(r"[\s=]+", " ", text)


def write_or_check(
    page: Path,
    command: str,
    make: Callable[[], str],
    stable: Callable[[str], str] = str,
    tries: int = 1,
) -> None:
    """Write a page; with ``--check``, exit with an error if the page is not current."""
    if "--check" not in sys.argv[1:]:
        page.write_text(make(), encoding="utf-8")
        return
    written = stable(page.read_text(encoding="utf-8"))
    if not any(stable(make()) == written for _ in range(tries)):
        sys.exit(f"{page.relative_to(ROOT)} is stale: run `{command}`")
