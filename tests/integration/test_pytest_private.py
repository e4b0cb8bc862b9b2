"""The private name of pytest that the package uses still does what it needs."""

import sys


def test_pytest_does_not_rewrite_assertions_in_the_package():
    """Rewritten modules are compiled anew in each new environment, and load more slowly after that."""
    ours = [module for name, module in sys.modules.items() if name.startswith("pytest_tlsandbox.")]

    assert {type(module.__loader__).__name__ for module in ours} == {"SourceFileLoader"}
