"""Runs of pytest in forks of a process that has imported what most of them need.

Half of what a small run costs is to import pytest, pydantic and requests. A test of what is imported
when, or how the plugin is loaded, starts an interpreter of its own instead.
"""

import contextlib
import gc
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# No plugins but ours: pytest warns of others that are imported before it can rewrite their asserts.
IMPORTED = (
    "pytest_tlsandbox.connections", "pytest_tlsandbox.guard", "pytest_tlsandbox.plugin", "requests",
    "pytest_tlsandbox.local.sandbox", "pytest_tlsandbox.report", "tests.fault_proxy",
    *(f"_pytest.{name}" for name in ("junitxml", "pytester", "recwarn", "skipping", "subtests")),
)  # fmt: skip


@pytest.fixture(scope="session")
def fork_pytest(tmp_path_factory):
    """Return a function that runs pytest in a folder, like ``python -m pytest``."""
    files = [tmp_path_factory.mktemp("forked") / name for name in ("stdout", "stderr")]
    command, pipe = [sys.executable, "-m", "tests.forked_runs"], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as server:

        def run(options, folder, environment):
            request = [options, str(folder), dict(environment), *map(str, files)]
            print(json.dumps(request), file=server.stdin, flush=True)
            status = int(server.stdout.readline())
            shown = [file.read_text(encoding="utf-8") for file in files]
            print(*shown, sep="\n")
            return pytest.RunResult(status, *(text.splitlines() for text in shown), duration=0.0)

        yield run


def _serve():
    for name in IMPORTED:
        with contextlib.suppress(ModuleNotFoundError):  # an older pytest has less
            importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(*json.loads(line))
            sys.exit(pytest.main())
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(args, folder, environment, out, err):
    for number, path in ((0, os.devnull), (1, out), (2, err)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[0] = folder
    sys.argv = ["pytest", *args]


if __name__ == "__main__":
    _serve()
