"""A new user, who has the wheel, its README and the workflow to copy, and nothing else.

``python tests/new_user.py dist/*.whl`` creates a venv, installs the wheel, runs the README's test,
which passes without a memory limit and fails with the README's command, and gates a made-up
deployment with the commands of the workflow. It needs a registry for the dependencies, and no other
network.
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
TOO_BIG = "taken = [bytearray(10_000_000) for _ in range(300)]"
SMOKE = """
def test_the_web_server_is_up(tlsandbox):
    tlsandbox.wait_for_process("http.server", timeout=10)
"""
CRASHES = """
def test_helper_that_crashes_unnoticed(tlsandbox):
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
    """A folder with a venv, and the commands that are run in it."""

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

    def run(self, command, status=0, **variables):
        """Run a shell command, which must end with this status; return its output."""
        print(f"$ {command}", flush=True)
        options = {"shell": True, "cwd": self.folder, "env": {**self.environment, **variables}}
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, timeout=300, check=False, **options, **output)
        if done.returncode != status:
            sys.exit(f"exit status {done.returncode}, wanted {status}:\n{done.stdout}")
        return done.stdout

    def write(self, name, text):
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text, encoding="utf-8")


def readme_of(wheel):
    """Return the README as the registry shows it."""
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_string(archive.read(name).decode())
    return str(metadata.get_payload())


def first(readme, language, start):
    """Return the first block of a language that begins with this text."""
    return next(
        text
        for text in re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)
        if text.startswith(start)
    )


def check_shows(output, *parts):
    for part in parts:
        if part not in output:
            sys.exit(f"not shown: {part!r}, in:\n{output}")


def steps_of(workflow):
    """Return the command of each step of a workflow, by the name of the step."""
    step = re.compile(r"- name: (.+)\n +run: (?:>-\n((?: {10,}.+\n)+)|(.+)\n)")
    return {
        name: " ".join((folded or line).split()) for name, folded, line in step.findall(workflow)
    }


@contextlib.contextmanager
def deployment(newcomer):
    """Deploy a web server to an embedded sandbox; yield the variables that the workflow would set."""
    python = newcomer.folder / "venv/bin/python"
    command = [python, "-m", "pytest_tlsandbox.local", "--memory=96M", "--id=my-sandbox"]
    options = {"cwd": newcomer.folder, "env": newcomer.environment, "text": True}
    serving = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
    try:
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
        newcomer.run("python deploy.py python -m http.server 0", **variables)
        yield variables
    finally:
        serving.terminate()
        serving.wait(10)


def main(wheel):
    readme, workflow = readme_of(wheel), WORKFLOW.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        newcomer = Newcomer(Path(folder))
        newcomer.run(f"pip install --quiet '{wheel.resolve()}[local]'")

        print("# the test of the README, which passes, and the message without a sandbox")
        newcomer.write("first/test_job.py", first(readme, "python", "def test_"))
        check_shows(newcomer.run("pytest first --tlsandbox local"), "1 passed")
        check_shows(
            newcomer.run("pytest first", 1),
            "no sandbox to test, because --tlsandbox is not set; pass --tlsandbox local",
        )

        print("# the command of the README, with a readable message")
        command = first(readme, "console", "$ pytest -q").removeprefix("$ ").strip()
        output = newcomer.run(f"{command} first", 1)
        check_shows(
            output,
            ">       tlsandbox.wait_for_exit(job, exit_code=0, timeout=60)\n"
            "E       pytest_tlsandbox.ProcessOOMKilled: OOM-killed at a limit of 128 MiB, wanted exit code 0: python -c; last output: shard 1 loaded\n",
            "E         | shard 1 loaded\n",
            "E         hint  raise --tlsandbox-memory if this memory use is expected\n",
            "FAILED first/test_job.py::test_job_succeeds - OOM-killed at a lim",
        )
        assert len(output.splitlines()) < 30, output

        print("# the commands of the workflow, for a good deployment and for two bad ones")
        install, checks, tests = steps_of(workflow).values()
        newcomer.run(install)
        newcomer.write("deploy.py", DEPLOY)
        newcomer.write("tests/test_smoke.py", SMOKE)
        with deployment(newcomer) as variables:
            check_shows(newcomer.run(checks, **variables), "passed")
            check_shows(newcomer.run(tests, **variables), "1 passed")

            newcomer.write("tests/test_helper.py", CRASHES)
            output = newcomer.run(tests, 1, **variables)
            check_shows(output, "1 failed, 1 passed", "GuardFailure: Crashed with SIGSEGV: ")
            assert variables["TENSORLAKE_API_KEY"] not in output

        newcomer.write("train.py", TOO_BIG)
        with deployment(newcomer) as variables:
            newcomer.run("python deploy.py python train.py", **variables)
            check_shows(newcomer.run(checks, 1, **variables), "OOM", "train.py (pid ")
        summary = (newcomer.folder / "summary.md").read_text(encoding="utf-8")
        check_shows(summary, '- Crashed with SIGSEGV: "kill -SEGV $$"')
        for name in ("checks.xml", "tests.xml", "processes.json"):
            assert (newcomer.folder / name).stat().st_size, name
    print("everything is as the README says")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
