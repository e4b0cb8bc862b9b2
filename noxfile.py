"""The suite on each Python that is promised: ``nox``, or ``nox -s tests-3.12``.

Everything else is in the Makefile. A Python that this machine does not have is skipped; in CI it is
an error.
"""

from __future__ import annotations

import os

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = "CI" in os.environ
nox.options.sessions = ["tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the test suite; what follows ``--`` is given to pytest."""
    session.install("--upgrade", "pip>=25.1")
    session.install("--editable", ".[local]", *nox.project.dependency_groups(PROJECT, "dev"))
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """Run it on the oldest releases that are promised, and the oldest Python."""
    session.install("--editable", ".[local]", "--requirement", "tests/oldest.txt")
    ignored = ("--ignore=tests/faults", "--ignore=tests/model")  # they do not hang on releases
    session.run("pytest", "-n", "2", *ignored, *session.posargs)
