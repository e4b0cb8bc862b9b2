"""What somebody does who has the wheel, its README and the workflow to copy, and nothing else.

``python tests/new_user.py dist/*.whl`` makes a venv, installs, writes the tests of the README, sees
one fail, and gates a made-up deployment with the commands of the workflow. It needs a registry for
the dependencies, and no other network.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import venv
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

WORKFLOW = Path(__file__).parent.parent / "examples" / "ci" / "gate-deployment.yml"
TRAIN = """\
import sys

print("shard 1/8 loaded", file=sys.stderr, flush=True)
taken = [bytearray(10_000_000) for _ in range(300)]
"""
SMOKE = """
def test_the_web_server_is_up(tlsandbox):
    tlsandbox.wait_for_process("http.server", timeout=10)
"""
CRASHES = """
def test_a_helper_that_nobody_looks_at(tlsandbox):
    tlsandbox.start_process("sh", ["-c", "kill -SEGV $$"])
    tlsandbox.wait_for_process("http.server", stable_for=0.5)
"""
DEPLOY = """
import os, sys, requests

URL = os.environ["TENSORLAKE_SANDBOX_PROXY_URL"] + "/api/v1/processes"
session = requests.Session()
session.headers["Authorization"] = "Bearer " + os.environ["TENSORLAKE_API_KEY"]
row = session.post(URL, json={"command": sys.argv[1], "args": sys.argv[2:]}).json()
while "train.py" in sys.argv and row["status"] == "running":
    row = session.get(f"{URL}/{row['pid']}").json()
"""


class Newcomer:
    """A folder, a venv in it, and commands that are run there."""

    def __init__(self, folder):
        self.folder = folder
        venv.create(folder / "venv", with_pip=True)
        kept = ("HOME", "LANG", "TMPDIR", "PIP_", "SSL_", "REQUESTS_CA_BUNDLE")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name.startswith(kept)},
            "PATH": f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "COLUMNS": "80",
        }

    def does(self, command, status=0, **environment):
        """Run a shell command, which ends with that status; give what it prints."""
        print(f"$ {command}", flush=True)
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        if done.returncode != status:
            sys.exit(f"exit status {done.returncode}, wanted {status}:\n{done.stdout}")
        return done.stdout

    def writes(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def readme_of(wheel):
    """Return the README as the registry shows it."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(archive.read(name).decode())
    return str(metadata.get_payload())


def block(readme, having):
    [found] = [
        text for text in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if having in text
    ]
    return str(found)


def shows(output, *parts):
    for part in parts:
        if part not in output:
            sys.exit(f"not shown: {part!r}, in:\n{output}")


def steps_of(workflow):
    """Return the commands of a workflow by the names of their steps."""
    step = re.compile(r"- name: (.+)\n +run: (?:>-\n((?: {10,}.+\n)+)|(.+)\n)")
    return {
        name: " ".join((folded or line).split()) for name, folded, line in step.findall(workflow)
    }


@contextlib.contextmanager
def deployment(newcomer):
    """Deploy a web server to an embedded sandbox; give the variables the workflow would set."""
    options = "-m", "pytest_tlsandbox.local", "--memory=96M", "--id=my-sandbox"
    serving = subprocess.Popen(
        [newcomer.folder / "venv/bin/python", *options],
        cwd=newcomer.folder,
        env=newcomer.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        lines = {}
        while len(lines) < 2:
            word, _, value = serving.stdout.readline().strip().partition(" ")
            lines[word] = value.strip()
        variables = {
            "TENSORLAKE_SANDBOX_PROXY_URL": lines["URL"],
            "TENSORLAKE_API_KEY": lines["key"],
            "TLSANDBOX": "my-sandbox",
            "GITHUB_STEP_SUMMARY": str(newcomer.folder / "summary.md"),
        }
        newcomer.does("python deploy.py python -m http.server 0", **variables)
        yield variables
    finally:
        serving.terminate()
        serving.wait(10)


def main(wheel):
    readme, workflow = readme_of(wheel), WORKFLOW.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        newcomer = Newcomer(Path(folder))
        newcomer.does(f"pip install --quiet '{wheel.resolve()}[local]'")

        print("# a test of the README that passes, and what is said where no sandbox was named")
        newcomer.writes("first/test_server.py", block(readme, "http.server"))
        shows(newcomer.does("pytest first --tlsandbox local"), "1 passed")
        shows(newcomer.does("pytest first", 1), "no sandbox to test; pass --tlsandbox local")

        print("# the test of the README that fails, readably")
        newcomer.writes("second/test_training.py", block(readme, "--shards"))
        newcomer.writes("train.py", TRAIN)
        told = newcomer.does("pytest second --tlsandbox local --tlsandbox-memory 128M", 1)
        shows(
            told,
            ">       tlsandbox.wait_for_exit(job, exit_code=0, timeout=120)\n"
            "E       pytest_tlsandbox.ProcessOOMKilled: OOM-killed: train.py (pid ",
            "E                      wanted  was\n",
            "E           status     exited  oom_killed   <\n",
            "python train.py --shards 8 --token=***\n",
            "E                   | shard 1/8 loaded\n",
            "try       more memory for the sandbox",
            "FAILED second/test_training.py::test_training_ends_well - OOM-killed: train",
        )
        assert len(told.splitlines()) < 45, told

        print(
            "# the commands of the workflow, on a deployment that is well, and on two that are not"
        )
        install, checks, tests = steps_of(workflow).values()
        newcomer.does(install)
        newcomer.writes("deploy.py", DEPLOY)
        newcomer.writes("tests/test_smoke.py", SMOKE)
        with deployment(newcomer) as variables:
            shows(newcomer.does(checks, **variables), "passed")
            shows(newcomer.does(tests, **variables), "1 passed")

            newcomer.writes("tests/test_helper.py", CRASHES)
            told = newcomer.does(tests, 1, **variables)
            shows(
                told,
                "1 failed, 1 passed",
                "GuardFailure: Crashed with SIGSEGV: ",
            )
            assert variables["TENSORLAKE_API_KEY"] not in told

        with deployment(newcomer) as variables:
            newcomer.does("python deploy.py python train.py", **variables)
            shows(newcomer.does(checks, 1, **variables), "OOM", "train.py (pid ")
        shows(
            (newcomer.folder / "summary.md").read_text(encoding="utf-8"),
            "| Crashed with SIGSEGV: kill -SEGV $$ |",
        )
        for name in ("checks.xml", "tests.xml", "processes.json"):
            assert (newcomer.folder / name).stat().st_size, name
    print("as the README says")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
