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


class Results:
    """A pytest plugin that turns failures into results, because a sandbox may differ.

    Args:
        target: the id, the name or the URL of the sandbox.
        api: the client of the sandbox.

    """

    def __init__(self, target, api):
        self.target = target
        self.api = api
        self.features = {}
        self._facts = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item):
        """Record a report; a failure is recorded and does not fail the run."""
        report = yield
        fact = fact_of(item.originalname)
        result = Result(fact, *item.get_closest_marker("fact").args)
        self._add(self._facts.setdefault(fact, result), report)
        if report.failed:
            report.outcome, report.wasxfail = "skipped", "different"
        return report

    @staticmethod
    def _add(result, report):
        if report.passed or result.result == DIFFERENT:
            return
        if report.skipped:
            message = report.longrepr[2].removeprefix("Skipped: ")
        else:
            message = report.longrepr.reprcrash.message
        result.result = DIFFERENT if report.failed and report.when == "call" else UNKNOWN
        result.detail = re.sub(r"\s+", " ", message)[:LONGEST_DETAIL]

    def write(self, secrets):
        """Write the results to ``FOLDER``.

        Args:
            secrets: texts that the results must not contain, with their replacements.

        Returns:
            The page for the terminal.

        """
        private = {
            self.target: "<target>",
            socket.gethostname(): "<host>",
            str(Path.home()): "<home>",
            getpass.getuser(): "<user>",
        }
        for result in self._facts.values():
            for text, replacement in {**secrets, **private}.items():
                result.detail = result.detail.replace(text, replacement)
            result.detail = mask_text(result.detail)
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
        kinds = (AS_ASSUMED, DIFFERENT, UNKNOWN)
        summary = ", ".join(f"{counts[kind]} {kind}" for kind in kinds)
        lines = ["# The contract of the sandbox API", "", summary, ""]
        for kind in (DIFFERENT, UNKNOWN):
            if rows := [
                f"| {one.fact} | {one.basis}: {one.source} | {one.detail.replace('|', '/')} |"
                for one in results
                if one.result == kind
            ]:
                lines += [f"## {kind.capitalize()}", "", "| fact | basis | what was found |"]
                lines += ["|---|---|---|", *rows, ""]
        lines += ["## Traits", "", "| trait | here | how the plugin copes |", "|---|---|---|"]
        for name, has in self._traits().items():
            lines.append(f"| {name} | {'yes' if has else 'no'} | {TRAITS[name]} |")
        return "\n".join([*lines, ""])


def fact_of(test: str) -> str:
    """Return the fact that the name of a test states."""
    return test.removeprefix("test_").replace("_", " ")
