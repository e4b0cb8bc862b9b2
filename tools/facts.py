"""Write the table of facts in docs/contributing/api-notes.md; ``--check`` checks that it is current."""

from __future__ import annotations

import importlib
import re
import sys

from pages import ROOT, write_or_check

sys.path.insert(0, str(ROOT))

from tests.contract.facts import TRAITS
from tests.contract.results import fact_of

PAGE = ROOT / "docs" / "contributing" / "api-notes.md"
FACTS = re.compile(r"(?<=<!-- facts -->\n).*?(?=<!-- end of facts -->)", re.DOTALL)


def tables() -> str:
    """Return the table of facts and the table of traits."""
    lines = ["", "| fact | source | test |", "|---|---|---|"]
    shown: dict[str, str] = {}
    for path in sorted((ROOT / "tests" / "contract").glob("test_*.py")):
        module = importlib.import_module(f"tests.contract.{path.stem}")
        for name, test in vars(module).items():
            if not name.startswith("test_"):
                continue
            [mark] = [mark for mark in test.pytestmark if mark.name == "fact"]
            basis, source, _, trait = mark.args
            shown[trait.removeprefix("not ")] = fact_of(name)
            lines.append(f"| {fact_of(name)} | {basis}: {source} | `{path.stem}` |")
    lines += ["", "Sandboxes may differ in these traits:", ""]
    lines += ["| trait | shown by | how the plugin copes with both |", "|---|---|---|"]
    for trait, coping in TRAITS.items():
        lines.append(f"| `{trait}` | {shown.get(trait, 'a request before the tests')} | {coping} |")
    return "\n".join([*lines, "", ""])


if __name__ == "__main__":
    notes = PAGE.read_text(encoding="utf-8")
    write_or_check(PAGE, "make facts", lambda: FACTS.sub(tables().replace("\\", r"\\"), notes))
