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
from typing import TYPE_CHECKING

import pytest

from pytest_tlsandbox import __version__
from pytest_tlsandbox.redact import mask_text

from .facts import TRAITS

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from .sandbox_api import SandboxApi

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

    def __init__(self, target: str, api: SandboxApi) -> None:
        self.target = target
        self.api = api
        self.features: dict[str, bool] = {}
        self._facts: dict[str, Result] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Record a report; a failure is recorded and does not fail the run."""
        report = yield
        mark = item.get_closest_marker("fact")
        assert mark is not None
        fact = fact_of(item.originalname)
        self._add(self._facts.setdefault(fact, Result(fact, *mark.args)), report)
        if report.failed:
            report.outcome, report.wasxfail = "skipped", "different"  # type: ignore[attr-defined]
        return report

    @staticmethod
    def _add(result: Result, report: pytest.TestReport) -> None:
        if report.passed or result.result == DIFFERENT:
            return
        if report.skipped:
            message = report.longrepr[2].removeprefix("Skipped: ")  # type: ignore[index]
        else:
            message = report.longrepr.reprcrash.message  # type: ignore[union-attr]
        result.result = DIFFERENT if report.failed and report.when == "call" else UNKNOWN
        result.detail = re.sub(r"\s+", " ", message)[:LONGEST_DETAIL]

    def write(self, secrets: Mapping[str, str]) -> str:
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

    def _traits(self) -> dict[str, bool]:
        shown = [
            result for result in self._facts.values() if result.trait and result.result != UNKNOWN
        ]
        return self.features | {
            result.trait.removeprefix("not "): (result.result == AS_ASSUMED)
            != result.trait.startswith("not ")
            for result in shown
        }

    def _page(self) -> str:
        results = self._facts.values()
        counts = Counter(result.result for result in results)
        lines = ["# The contract of the sandbox API", ""]
        lines += [
            ", ".join(f"{counts[kind]} {kind}" for kind in (AS_ASSUMED, DIFFERENT, UNKNOWN)),
            "",
        ]
        for kind in (DIFFERENT, UNKNOWN):
            rows = [
                f"| {one.fact} | {one.basis}: {one.source} | {one.detail.replace('|', '/')} |"
                for one in results
                if one.result == kind
            ]
            header = [
                f"## {kind.capitalize()}",
                "",
                "| fact | basis | what was found |",
                "|---|---|---|",
            ]
            lines += [*header, *rows, ""] if rows else []
        lines += ["## Traits", "", "| trait | here | how the plugin copes |", "|---|---|---|"]
        lines += [
            f"| {name} | {'yes' if has else 'no'} | {TRAITS[name]} |"
            for name, has in self._traits().items()
        ]
        return "\n".join([*lines, ""])


def fact_of(test: str) -> str:
    """Return the fact that the name of a test states."""
    return test.removeprefix("test_").replace("_", " ")
