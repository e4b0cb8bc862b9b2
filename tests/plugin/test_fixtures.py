"""What each fixture gives, and what belongs to a test."""

from __future__ import annotations

import pytest

from .inner import errors_of_tests, passed


@pytest.mark.usefixtures("connected")
def test_plugin_kills_the_processes_of_a_test_when_the_test_ends(pytester):
    pytester.makepyfile(
        """
        import pytest

        started = []

        def test_that_leaves_one_running(tlsandbox):
            started.append(tlsandbox.start_process("sleep", ["60"]))
            started.append(tlsandbox.start_process("sh", ["-c", "trap '' TERM; sleep 60; :"]))

        def test_that_fails_with_one_running(tlsandbox):
            started.append(tlsandbox.start_process("sleep", ["60"]))
            raise ZeroDivisionError

        def test_the_next_one(tlsandbox):
            assert len(started) == 3
            for process in started:
                tlsandbox.assert_process(process, status="signaled", signal=9)
        """
    )
    record = pytester.inline_run()
    assert errors_of_tests(record) == {"test_that_fails_with_one_running": "ZeroDivisionError"}
    assert [len(outcome) for outcome in record.listoutcomes()] == [2, 0, 1]


@pytest.mark.usefixtures("connected")
def test_process_from_an_earlier_test_is_not_selected_in_a_later_test(pytester):
    pytester.makepyfile(
        """
        import pytest
        import pytest_tlsandbox

        JOB = "sh", ["-c", "exit $0", "0", "earlier.py"]

        def test_earlier(tlsandbox):
            job = tlsandbox.start_process(*JOB)
            tlsandbox.wait_for_exit(job)
            tlsandbox.wait_for_exit("earlier.py")

        def test_asks_for_what_it_did_not_start(tlsandbox):
            with pytest.raises(pytest_tlsandbox.ProcessNotFound) as error:
                tlsandbox.wait_for_exit("earlier.py", timeout=0.1)
            assert error.value.first_line == (
                'No process of this test matches "earlier.py" after 0.1 s: 1 matching process ended before the test began'
            )

        def test_sees_its_own_beside_it(tlsandbox):
            job = tlsandbox.start_process(*JOB)
            assert tlsandbox.wait_for_exit("earlier.py").pid == job.pid

        def test_sees_all_if_it_asks_for_all(tlsandbox, tlsandbox_session):
            tlsandbox.wait_for_exit("earlier.py", since=None, pick="oldest")
            tlsandbox_session.wait_for_exit("earlier.py", pick="oldest")
            assert tlsandbox_session.baseline is None
        """
    )
    assert passed(pytester.inline_run()) == 4


@pytest.mark.usefixtures("connected")
def test_processes_started_by_the_fixtures_of_a_test_belong_to_the_test(pytester):
    """However the test orders its arguments: the baseline is taken before them all."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(autouse=True)
        def automatic(tlsandbox_session):
            job = tlsandbox_session.start_process("sh", ["-c", "exit 0", "automatic.py"])
            tlsandbox_session.wait_for_exit(job)

        @pytest.fixture(scope="module")
        def wider(tlsandbox_session):
            job = tlsandbox_session.start_process("sh", ["-c", "exit 0", "wider.py"])
            tlsandbox_session.wait_for_exit(job)

        @pytest.fixture
        def own(tlsandbox):
            return tlsandbox.start_process("sh", ["-c", "exit 0", "own.py"])

        def test_first(wider, own, tlsandbox):
            tlsandbox.wait_for_exit("automatic.py", timeout=1)
            tlsandbox.wait_for_exit("wider.py", timeout=1)
            assert tlsandbox.wait_for_exit("own.py", timeout=1).pid == own.pid
        """
    )
    assert passed(pytester.inline_run()) == 1


def test_autouse_fixture_can_provide_the_api_key(pytester, connected, monkeypatch):
    monkeypatch.delenv("TENSORLAKE_API_KEY")
    monkeypatch.setenv("THE_KEY", connected.api_key.reveal())
    pytester.makepyfile(
        """
        import os
        import pytest

        @pytest.fixture(scope="session", autouse=True)
        def key():
            os.environ["TENSORLAKE_API_KEY"] = os.environ["THE_KEY"]

        def test_it(tlsandbox):
            tlsandbox.list_processes()
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


@pytest.mark.parametrize("kind", ["Sandbox", "AsyncSandbox"])
def test_suite_can_use_a_sandbox_that_it_created_with_the_sdk(
    pytester, connected, monkeypatch, kind
):
    monkeypatch.delenv("TLSANDBOX")
    monkeypatch.setenv("PLAIN_URL", connected.url)
    pytester.makepyfile(
        f"""
        import os
        import pytest
        from tensorlake.sandbox import {kind}

        @pytest.fixture(scope="session")
        def tlsandbox_target():
            own_key = os.environ.pop("TENSORLAKE_API_KEY")
            url = os.environ["PLAIN_URL"]
            return {kind}(identifier="my-sandbox", proxy_url=url, api_key=own_key)

        def test_it(tlsandbox, tlsandbox_session, tlsandbox_lister):
            assert tlsandbox_lister.label == "my-sandbox"
            assert repr(tlsandbox) == repr(tlsandbox_session) == "<Sandbox my-sandbox>"
            job = tlsandbox.start_process("true")
            assert tlsandbox.wait_for_exit(job).pid == job.pid
            assert job.pid in [row.pid for row in tlsandbox_lister.list()]
        """
    )
    # In a separate process, because the SDK is a native module.
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_two_test_modules_can_override_the_sandbox_differently(pytester, connected, monkeypatch):
    """Pytest makes fixtures of session scope once; tlsandbox follows the override all the same."""
    monkeypatch.delenv("TLSANDBOX")
    monkeypatch.setenv("PLAIN_URL", connected.url)
    module = """
        import os
        import pytest

        @pytest.fixture(scope="session")
        def tlsandbox_target():
            return {target}

        def test_it(tlsandbox):
            assert tlsandbox.list_processes().sandbox == {target}
        """
    pytester.makepyfile(
        test_1=module.format(target="'my-sandbox'"),
        test_2=module.format(target="os.environ['PLAIN_URL']"),
    )
    assert passed(pytester.inline_run()) == 2


def test_embedded_sandbox_needs_no_configuration(pytester):
    pytester.makepyfile(
        """
        from pytest_tlsandbox import Secret

        def test_it(tlsandbox_local):
            assert tlsandbox_local.url.startswith("http://127.0.0.1:")
            assert tlsandbox_local.identifier == "local"
            assert tlsandbox_local.memory_limit == 256 * 2**20
            assert isinstance(tlsandbox_local.api_key, Secret)
            assert len(tlsandbox_local.api_key.reveal()) > 30
            assert repr(tlsandbox_local) == f"<LocalSandbox 'local' at {tlsandbox_local.url}>"

        def test_it_is_what_the_target_local_means(tlsandbox_connect, tlsandbox_local):
            sandbox = tlsandbox_connect("local")
            assert repr(sandbox) == "<Sandbox local>"
            job = sandbox.start_process("true")
            sandbox.wait_for_exit(job)

        def test_it_stays_the_same(tlsandbox_local, tlsandbox_connect):
            assert len(tlsandbox_connect("local").list_processes()) == 1
        """
    )
    assert passed(pytester.inline_run("--tlsandbox-memory=256M")) == 3


@pytest.mark.parametrize("wrapped", ["Secret({})", "lambda: {}", "lambda: Secret({})"])
def test_api_key_from_the_hook_overrides_the_environment(pytester, connected, monkeypatch, wrapped):
    monkeypatch.setenv("TENSORLAKE_API_KEY", "not-this-one")
    monkeypatch.setenv("VAULT", connected.api_key.reveal())
    key = wrapped.format("os.environ['VAULT']")
    pytester.makeconftest(
        f"""
        import os
        from pytest_tlsandbox import Secret

        def pytest_tlsandbox_api_key(config, target):
            assert config.getoption("verbose") == 0
            return ({key}) if target == "my-sandbox" else None
        """
    )
    pytester.makepyfile(
        """
        import pytest
        import pytest_tlsandbox

        def test_the_hook_answers(tlsandbox):
            tlsandbox.list_processes()

        def test_the_hook_leaves_it_to_the_environment(tlsandbox_connect):
            other = tlsandbox_connect("other-sandbox")
            with pytest.raises(pytest_tlsandbox.AuthenticationFailed):
                other.list_processes()
        """
    )
    assert passed(pytester.inline_run()) == 2


@pytest.mark.usefixtures("connected")
def test_one_test_can_use_two_sandboxes(pytester):
    pytester.makepyfile(
        """
        import pytest
        import pytest_tlsandbox

        kept = []

        def test_two(tlsandbox, tlsandbox_connect):
            other = tlsandbox_connect("local")
            assert (repr(tlsandbox), repr(other)) == ("<Sandbox my-sandbox>", "<Sandbox local>")
            here = tlsandbox.start_process("sh", ["-c", "exit 3", "two.py"])
            there = other.start_process("sleep", ["60"])
            kept.append(there)
            tlsandbox.wait_for_exit("two.py", exit_code=3)
            assert other.list_processes().where(pid=here.pid) == ()
            assert tlsandbox.list_processes().where(pid=there.pid) == ()

        def test_what_was_started_by_connect_lives_on(tlsandbox_connect):
            tlsandbox_connect("local").assert_process(kept[0], status="running")
        """
    )
    assert passed(pytester.inline_run()) == 2


@pytest.mark.usefixtures("connected")
def test_processes_in_connected_sandboxes_are_killed_when_the_session_ends(pytester):
    pytester.makepyfile(
        """
        started = []

        def test_it(tlsandbox_connect, tlsandbox_session):
            started.append(tlsandbox_connect("my-sandbox").start_process("sleep", ["61"]))
            started.append(tlsandbox_session.start_process("sleep", ["61"]))

        def teardown_module():
            from pathlib import Path
            Path("pids").write_text(" ".join(str(process.pid) for process in started))
        """
    )
    assert passed(pytester.inline_run()) == 1
    ended = pytester.path.joinpath("pids").read_text().split()
    pytester.makepyfile(
        test_after=f"""
        def test_it(tlsandbox):
            for pid in {ended}:
                tlsandbox.assert_process(int(pid), status="signaled", signal=9, since=None)
        """
    )
    assert passed(pytester.inline_run("test_after.py")) == 1
