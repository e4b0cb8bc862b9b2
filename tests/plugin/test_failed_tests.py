"""What a failed test shows beside its own error: what happened in the sandbox, and the cause."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from tests.fault_proxy import FaultProxy

from ..report.read_report import read
from ..support import dedented
from .inner import PROGRAMS, failures

TITLE = "sandbox during this test"

SUITE = (
    PROGRAMS
    + """
        import os
        import socket
        import pytest
        from pytest_tlsandbox import start_local_sandbox

        def ended(sandbox, job):
            sandbox.wait_until(lambda seen: seen.find(job.identity).ended)

        @pytest.fixture(scope="session")
        def server(tlsandbox_session):
            return tlsandbox_session.start_process("python", ["-m", "http.server", "0"])

        def test_server_exited(tlsandbox, tmp_path):
            code = f'''if True:
                import socket, sys
                server = socket.create_server(("127.0.0.1", 0))
                open("{tmp_path}/port", "w").write(str(server.getsockname()[1]) + "!")
                server.accept()
                print("listening")
                print("Traceback: db gone", file=sys.stderr)
                sys.exit(3)
            '''
            tlsandbox.start_process("python", ["-c", code])
            while not (tmp_path / "port").exists() or "!" not in (tmp_path / "port").read_text():
                pass
            client = socket.create_connection(("127.0.0.1", int((tmp_path / "port").read_text()[:-1])))
            assert client.recv(1) == b"hello"

        def test_oom_killed(tlsandbox):
            be_killed(tlsandbox)
            assert False

        def test_restarted(tlsandbox, tmp_path):
            tlsandbox.start_process(*at_first(tmp_path, "exit 1"), name="web", restart=AGAIN)
            tlsandbox.wait_until(lambda seen: restarted(seen, "web"))
            assert False

        def test_port_taken(tlsandbox):
            with socket.create_server(("127.0.0.1", 0)) as taken:
                code = f'''if True:
                    import socket, sys
                    try:
                        socket.socket().bind({taken.getsockname()})
                    except OSError as error:
                        sys.exit(error.strerror)
                '''
                ended(tlsandbox, tlsandbox.start_process("python", ["-c", code]))
            assert False

        def test_wrong_dependency(tlsandbox):
            code = "import sys; sys.tracebacklimit = 0; import no_such_module"
            ended(tlsandbox, tlsandbox.start_process("python", ["-c", code]))
            assert False

        def test_kills_the_server_of_others(server):
            os.kill(server.pid, 9)

        def test_killed_by_another_test(server):
            assert False

        def test_sandbox_gone(tlsandbox_connect):
            with start_local_sandbox(identifier="mine") as sandbox:
                tlsandbox_connect(sandbox).list_processes()
            raise OSError("connection refused")

        def test_unhealthy(tlsandbox):
            tlsandbox.start_process("sleep", ["60"], name="sick", health_check=SICK)
            tlsandbox.wait_until(unhealthy)
            assert False

        def test_nothing_happened(tlsandbox):
            assert False

        def test_output_with_a_secret(tlsandbox):
            program = "echo --token=tl_secret >&2; exit 1"
            ended(tlsandbox, tlsandbox.start_process("sh", ["-c", program]))
            assert False

        def test_all_went_well(tlsandbox):
            for number in range(2):
                tlsandbox.wait_for_exit(tlsandbox.start_process("true"))
            tlsandbox.start_process("sleep", ["60"])
            tlsandbox.kill_process(tlsandbox.start_process("sleep", ["61"]))
            assert False

        def test_passes(tlsandbox):
            be_killed(tlsandbox)

        @pytest.mark.xfail
        def test_xfails(tlsandbox):
            be_killed(tlsandbox)
            assert False
"""
)
SECTIONS = {
    "test_server_exited": """
        # s before  exited 3: python -c
          | Traceback: db gone
        """,
    "test_oom_killed": "# s before  OOM-killed: python -c",
    "test_restarted": """
        # s before  exited 1, restarted: web, first run
        still running: web
        """,
    "test_port_taken": """
        # s before  exited 1: python -c
          | Address already in use
        """,
    "test_wrong_dependency": """
        # s before  exited 1: python -c
          | ModuleNotFoundError: No module named 'no_such_module'
        """,
    "test_killed_by_another_test": "# s before  signaled 9 (SIGKILL): http.server",
    "test_sandbox_gone": "# s before  mine cannot be reached: the connection was refused",
    "test_unhealthy": """
        # s before  unhealthy: sick
        still running: sick
        """,
    "test_nothing_happened": "",
    "test_output_with_a_secret": """
        # s before  exited 1: sh -c
          | --token=***
        """,
    "test_all_went_well": """
        still running: sleep; killed by the tests: sleep; 2 processes ended normally
        """,
}
CAUSES = {
    "test_server_exited": "exit: python -c (not certain)",
    "test_oom_killed": "oom: python -c (not certain)",
    "test_restarted": "exit: web, first run (not certain)",
    "test_port_taken": "exit: python -c (not certain)",
    "test_wrong_dependency": "exit: python -c (not certain)",
    "test_killed_by_another_test": "exit: http.server (not certain)",
    "test_sandbox_gone": "sandbox: mine (not certain)",
    "test_unhealthy": "none",
    "test_nothing_happened": "none",
    "test_output_with_a_secret": "exit: sh -c (not certain)",
    "test_all_went_well": "none",
}


def sections_of(record: pytest.HookRecorder) -> dict[str, str]:
    """Return the section of each failed test, without times; empty if it has none."""
    return {
        report.nodeid.partition("::")[2]: re.sub(
            r"\d+\.\d s before", "# s before", dict(report.sections).get(TITLE, "")
        )
        for report in record.getreports("pytest_runtest_logreport")
        if report.failed
    }


def causes_in_junit(path: Any) -> dict[str, list[str]]:
    """Return the property with the cause of each test that has one."""
    return {
        case.attrib["name"]: causes
        for case in ET.parse(path).iter("testcase")
        if (causes := [each.attrib["value"] for each in case.iter("property")])
    }


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("options", [(), ("--tlsandbox-guard=leak", "--tlsandbox-report=out.json")])
def test_a_test_that_fails_by_itself_shows_what_happened_in_the_sandbox(pytester, options):
    pytester.makepyfile(test_it=SUITE)
    record = pytester.inline_run("--junitxml=junit.xml", *options)
    sections, causes = sections_of(record), causes_in_junit(pytester.path / "junit.xml")
    if options:
        pass
    assert sections == {name: dedented(text) for name, text in SECTIONS.items()}
    assert causes == {name: [cause] for name, cause in CAUSES.items()}
