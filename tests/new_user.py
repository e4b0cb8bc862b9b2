"""A new user, who has the wheel, its README and the workflow to copy, and nothing else.

``python tests/new_user.py dist/*.whl`` creates a venv, installs the wheel, runs the README's test,
which passes without a memory limit and fails with the README's command, and gates a made-up
deployment with the commands of the workflow. It needs a registry for the dependencies, and no other
network.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from urllib.request import Request, urlopen

WORKFLOW = Path(__file__).parent.parent / "examples" / "ci" / "gate-deployment.yml"
README = "import importlib.metadata as m; print(m.metadata('pytest-tlsandbox')['Description'])"
TOO_BIG = "taken = [bytearray(10_000_000) for _ in range(300)]"
SMOKE = "def test_server_is_up(tlsandbox): tlsandbox.wait_for_process('http.server', timeout=10)\n"
CRASHES = """
def test_helper_that_crashes_unnoticed(tlsandbox):
    tlsandbox.start_process("sh", ["-c", "kill -SEGV $$"])
    tlsandbox.wait_for_process("http.server", stable_for=0.5)
"""


class Newcomer:
    """A folder with a venv, and the commands that are run in it."""

    def __init__(self, folder):
        self.folder = folder
        venv.create(folder / "venv", with_pip=True)
        names = ("HOME", "LANG", "TMPDIR", "PIP_", "SSL_", "REQUESTS_CA_BUNDLE")
        kept = {name: value for name, value in os.environ.items() if name.startswith(names)}
        path = f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}"
        own = {"PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "COLUMNS": "80"}
        self.environment = {**kept, **own}

    def run(self, command, *shown, status=0, **variables):
        """Run a shell command, which must end with this status and show these texts."""
        print(f"$ {command}", flush=True)
        options = {"shell": True, "cwd": self.folder, "env": {**self.environment, **variables}}
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, timeout=300, **options, **output)
        missing = [text for text in shown if text not in done.stdout]
        if missing or done.returncode != status:
            problem = f"status {done.returncode}, wanted {status}; not shown: {missing}"
            sys.exit(f"{done.stdout}\n{problem}")
        return done.stdout

    def write(self, name, text):
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text, encoding="utf-8")


def first(readme, language, start):
    """Return the first block of a language that begins with this text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)
    return next(text for text in blocks if text.startswith(start))


def steps_of(workflow):
    """Return the command of each step of a workflow."""
    step = re.compile(r"- name: .+\n +run: (?:>-\n((?: {10,}.+\n)+)|(.+)\n)")
    return [" ".join((folded or line).split()) for folded, line in step.findall(workflow)]


@contextlib.contextmanager
def deployment(newcomer, route, *command):
    """Deploy a program to an embedded sandbox; yield the variables that the workflow would set.

    With the route "processes/run", this waits until the program has ended.
    """
    server = [newcomer.folder / "venv/bin/python", "-m", "pytest_tlsandbox.local", "--memory=96M"]
    options = {"cwd": newcomer.folder, "env": newcomer.environment, "text": True}
    serving = subprocess.Popen([*server, "--id=my-sandbox"], stdout=subprocess.PIPE, **options)
    try:
        url, key = (serving.stdout.readline().split()[1] for _ in range(2))
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        body = json.dumps({"command": command[0], "args": command[1:]}).encode()
        urlopen(Request(f"{url}/api/v1/{route}", body, headers)).read()
        summary = {"GITHUB_STEP_SUMMARY": str(newcomer.folder / "summary.md")}
        address = {"TLSANDBOX": "my-sandbox", "TENSORLAKE_SANDBOX_PROXY_URL": url}
        yield {**summary, **address, "TENSORLAKE_API_KEY": key}
    finally:
        serving.terminate()
        serving.wait(10)


def main(wheel):
    with tempfile.TemporaryDirectory() as folder:
        newcomer = Newcomer(Path(folder))
        newcomer.run(f"pip install --quiet '{wheel.resolve()}[local]'")
        readme = newcomer.run(f'python -c "{README}"')  # as the registry shows it

        print("# the test of the README, which passes without a memory limit")
        newcomer.write("test_job.py", first(readme, "python", "def test_"))
        newcomer.run("pytest --tlsandbox local", "1 passed")

        print("# the command of the README, with the output of the README")
        command = first(readme, "console", "$ pytest -q").removeprefix("$ ").strip()
        *lines, _time = first(readme, "text", ">").splitlines()
        output = newcomer.run(command, *lines, status=1)
        assert len(output.splitlines()) < 30, output

        print("# the commands of the workflow, for a good deployment and for two bad ones")
        install, checks, tests = steps_of(WORKFLOW.read_text(encoding="utf-8"))
        newcomer.run(install)
        newcomer.write("tests/test_smoke.py", SMOKE)
        with deployment(newcomer, "processes", "python", "-m", "http.server", "0") as variables:
            newcomer.run(checks, "passed", **variables)
            newcomer.run(tests, "1 passed", **variables)

            newcomer.write("tests/test_helper.py", CRASHES)
            crash = "1 failed, 1 passed", "GuardFailure: Crashed with SIGSEGV: "
            output = newcomer.run(tests, *crash, status=1, **variables)
            assert variables["TENSORLAKE_API_KEY"] not in output

        newcomer.write("train.py", TOO_BIG)
        with deployment(newcomer, "processes/run", "python", "train.py") as variables:
            newcomer.run(checks, "OOM", "train.py (pid ", status=1, **variables)
        summary = (newcomer.folder / "summary.md").read_text(encoding="utf-8")
        assert '- Crashed with SIGSEGV: "kill -SEGV $$"' in summary, summary
        for name in ("checks.xml", "tests.xml", "processes.json"):
            assert (newcomer.folder / name).stat().st_size, name
    print("everything is as the README says")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
