"""What each fixture provides, and which processes belong to a test."""

from __future__ import annotations

import pytest

from .inner import errors_of_tests, passed, providing


@pytest.mark.usefixtures("connected")
def test_started_processes_are_killed_at_the_end_of_the_test_or_of_the_session(
    pytester, box, tlsandbox_connect
):
    pytester.makepyfile(
        """
        started = []

        def test_that_leaves_two_running(tlsandbox):
            started.append(tlsandbox.start_process("sleep", ["60"]))
            started.append(tlsandbox.start_process("sh", ["-c", "trap '' TERM; sleep 60; :"]))

        def test_that_fails_with_one_running(tlsandbox):
            started.append(tlsandbox.start_process("sleep", ["60"]))
            raise ZeroDivisionError

        def test_that_starts_two_for_the_session(tlsandbox_connect, tlsandbox_session, provided):
            provided.append(tlsandbox_session.start_process("sleep", ["61"]))
            provided.append(tlsandbox_connect("my-sandbox").start_process("sleep", ["61"]))

        def test_the_last_one(tlsandbox, provided):
            assert len(started) == 3
            for process in started:
                tlsandbox.assert_process(process, status="signaled", signal=9)
            for process in provided:
                tlsandbox.assert_process(process, status="running")
        """
    )
    of_session = []
    record = pytester.inline_run(plugins=[providing(of_session)])

    assert errors_of_tests(record) == {"test_that_fails_with_one_running": "ZeroDivisionError"}
    assert len(of_session) == 2
    for process in of_session:
        tlsandbox_connect(box).assert_process(process, status="signaled", signal=9)


@pytest.mark.usefixtures("connected")
def test_processes_started_by_a_test_and_its_fixtures_are_not_selected_in_a_later_test(pytester):
    """However a test orders its arguments: the baseline is taken before them all."""
    code = """
        import pytest
        import pytest_tlsandbox

        def run(sandbox, name): sandbox.run_process("sh", ["-c", "exit 0", name])

        @pytest.fixture(autouse=True)
        def automatic(tlsandbox_session): run(tlsandbox_session, "automatic.py")

        @pytest.fixture(scope="module")
        def wider(tlsandbox_session): run(tlsandbox_session, "wider.py")

        @pytest.fixture
        def own(tlsandbox): run(tlsandbox, "own.py")

        def test_first(wider, own, tlsandbox):
            for name in ("automatic.py", "wider.py", "own.py"):
                tlsandbox.wait_for_exit(name, timeout=1)

        def test_later(tlsandbox, tlsandbox_session):
            with pytest.raises(pytest_tlsandbox.ProcessNotFound, match="^No process of this test"):
                tlsandbox.wait_for_exit("own.py", timeout=0)
            tlsandbox.wait_for_exit("own.py", since=None)
            assert tlsandbox_session.baseline is None
            tlsandbox_session.wait_for_exit("own.py")
            run(tlsandbox, "own.py")
            tlsandbox.wait_for_exit("own.py")
        """
    assert passed(pytester, code) == 2


@pytest.mark.usefixtures("connected")
def test_suite_can_use_a_sandbox_that_it_created_with_the_sdk(pytester, monkeypatch):
    monkeypatch.delenv("TLSANDBOX")
    pytester.makepyfile(
        """
        import os
        import pytest
        from tensorlake.sandbox import AsyncSandbox, Sandbox

        URL, KEY = map(os.environ.pop, ["TENSORLAKE_SANDBOX_PROXY_URL", "TENSORLAKE_API_KEY"])

        @pytest.fixture(scope="session", params=[Sandbox, AsyncSandbox])
        def tlsandbox_target(request):
            return request.param(identifier="my-sandbox", proxy_url=URL, api_key=KEY)

        def test_it(tlsandbox, tlsandbox_session, tlsandbox_lister):
            assert repr(tlsandbox) == repr(tlsandbox_session) == "<Sandbox my-sandbox>"
            job = tlsandbox.start_process("true")
            assert tlsandbox.wait_for_exit(job).pid == job.pid
            assert job.pid in [row.pid for row in tlsandbox_lister.list()]
        """
    )
    # In a separate process, because the SDK is a native module.
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


def test_two_modules_can_override_the_sandbox_and_an_autouse_fixture_can_provide_the_key(
    pytester, connected, monkeypatch
):
    """Pytest makes fixtures of session scope once; tlsandbox follows the override all the same."""
    monkeypatch.delenv("TLSANDBOX")
    monkeypatch.delenv("TENSORLAKE_API_KEY")
    module = """
        import os
        import pytest

        @pytest.fixture(scope="session", autouse=True)
        def key(provided): os.environ["TENSORLAKE_API_KEY"] = provided

        @pytest.fixture(scope="session")
        def tlsandbox_target(): return {target!r}

        def test_it(tlsandbox): assert tlsandbox.list_processes().sandbox == {target!r}
        """
    pytester.makepyfile(test_by_id=module.format(target="my-sandbox"))
    key = providing(connected.api_key.reveal())
    assert passed(pytester, module.format(target=connected.url), plugins=[key]) == 2


@pytest.mark.usefixtures("connected")
def test_one_test_can_also_use_the_embedded_sandbox_and_then_messages_name_the_sandbox(pytester):
    code = """
        import pytest
        from pytest_tlsandbox import ProcessNotFound, Secret

        def test_embedded(tlsandbox_local):
            assert tlsandbox_local.url.startswith("http://127.0.0.1:")
            assert tlsandbox_local.memory_limit == 256 * 2**20
            assert isinstance(tlsandbox_local.api_key, Secret)
            assert len(tlsandbox_local.api_key.reveal()) > 30
            assert repr(tlsandbox_local) == f"<LocalSandbox 'local' at {tlsandbox_local.url}>"

        def test_two(tlsandbox, tlsandbox_connect):
            with pytest.raises(ProcessNotFound, match="(?s)^(?!.*my-sandbox)"):
                tlsandbox.wait_for_process("none", timeout=0)
            other = tlsandbox_connect("local")
            here = tlsandbox.start_process("sh", ["-c", "exit 3", "two.py"])
            there = other.start_process("sleep", ["60"])
            tlsandbox.wait_for_exit("two.py", exit_code=3)
            assert other.list_processes().where(pid=here.pid) == ()
            assert tlsandbox.list_processes().where(pid=there.pid) == ()
            with pytest.raises(ProcessNotFound, match="my-sandbox"):
                tlsandbox.wait_for_process("none", timeout=0)
        """
    assert passed(pytester, code, "--tlsandbox-memory=256M") == 2
