"""The results of a run of the contract, as a file for programs and a page for people."""

from __future__ import annotations

import getpass
import json
import platform
import re
import socket
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_tlsandbox import __version__
from pytest_tlsandbox.redact import mask_text

from .facts import TRAITS

FOLDER = Path("contract-results")
AS_ASSUMED, DIFFERENT, UNKNOWN = "as assumed", "different", "unknown"
LONGEST_DETAIL = 300


@dataclass
class Result:
    """What a sandbox shows about one fact.

    Attributes:
        result: ``AS_ASSUMED``, ``DIFFERENT`` or ``UNKNOWN``.
        detail: the reason why a fact is different or unknown.

    """

    fact: str
    basis: str
    source: str
    needs: str
    trait: str
    result: str = AS_ASSUMED
    detail: str = ""

    def row(self):
        """Return a row of the page."""
        return f"| {self.fact} | {self.basis}: {self.source} | {self.detail.replace('|', '/')} |"


class Results:
    """A pytest plugin that turns failures into results, because a sandbox may differ.

    Args:
        target: the id, the name or the URL of the sandbox.
        api: the client of the sandbox.

    """

    def __init__(self, target, api):
        self.target, self.api = target, api
        self.features = {}
        self._facts = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item):
        """Record a report; a failure is recorded and does not fail the run."""
        report = yield
        fact = fact_of(item.originalname)
        new = Result(fact, *item.get_closest_marker("fact").args)
        result = self._facts.setdefault(fact, new)
        if result.result != DIFFERENT and report.skipped:
            result.result = UNKNOWN
            result.detail = report.longrepr[2].removeprefix("Skipped: ")
        elif result.result != DIFFERENT and report.failed:
            result.result = DIFFERENT if report.when == "call" else UNKNOWN
            result.detail = report.longrepr.reprcrash.message
        if report.failed:
            report.outcome, report.wasxfail = "skipped", "different"
        return report

    def write(self, secrets):
        """Write the results to ``FOLDER``.

        Args:
            secrets: texts that the results must not contain, with their replacements.

        Returns:
            The page for the terminal.

        """
        private = {**secrets, self.target: "<target>", socket.gethostname(): "<host>"}
        private |= {str(Path.home()): "<home>", getpass.getuser(): "<user>"}
        for result in self._facts.values():
            detail = re.sub(r"\s+", " ", result.detail)[:LONGEST_DETAIL]
            for text, replacement in private.items():
                detail = detail.replace(text, replacement)
            result.detail = mask_text(detail)
        document = {
            "date": datetime.now(timezone.utc).date().isoformat(),
            "versions": {"pytest-tlsandbox": __version__, "python": platform.python_version()},
            "traits": self._traits(),
            "facts": [asdict(result) for result in self._facts.values()],
        }
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "contract.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        page = self._page()
        (FOLDER / "contract.md").write_text(page, encoding="utf-8")
        return f"\n{page}\nWritten to {FOLDER}/contract.json and {FOLDER}/contract.md"

    def _traits(self):
        shown = {}
        for result in self._facts.values():
            if result.trait and result.result != UNKNOWN:
                excludes = result.trait.startswith("not ")
                has = (result.result == AS_ASSUMED) != excludes
                shown[result.trait.removeprefix("not ")] = has
        return self.features | shown

    def _page(self):
        results = self._facts.values()
        counts = Counter(result.result for result in results)
        summary = ", ".join(f"{counts[kind]} {kind}" for kind in (AS_ASSUMED, DIFFERENT, UNKNOWN))
        lines = ["# The contract of the sandbox API", "", summary, ""]
        for kind in (DIFFERENT, UNKNOWN):
            rows = [result.row() for result in results if result.result == kind]
            if rows:
                lines += [f"## {kind.capitalize()}", "", "| fact | basis | what was found |"]
                lines += ["|---|---|---|", *rows, ""]
        lines += ["## Traits", "", "| trait | here | how the plugin copes |", "|---|---|---|"]
        for name, has in self._traits().items():
            lines.append(f"| {name} | {'yes' if has else 'no'} | {TRAITS[name]} |")
        return "\n".join([*lines, ""])


def fact_of(test: str) -> str:
    """Return the fact that the name of a test states."""
    return test.removeprefix("test_").replace("_", " ")
