"""The page of ``--tlsandbox-doctor`` names the next step, and never shows a secret."""

import re
from contextlib import ExitStack

import pytest

import pytest_tlsandbox
from pytest_tlsandbox import doctor
from pytest_tlsandbox.local import sandbox as local_sandbox
from tests.client.servers import connected as connected_to
from tests.fakes.changed_daemons import OldDaemon
from tests.fault_proxy import FaultProxy, faults, make_certificate

from .inner import unused_url

KEY, PASSWORD = "Sentinel-key-5b6a7c", "Sentinel-proxy-0a1b2c"


class Suite:
    """The environment of one run; without changes, everything works."""

    def __init__(self, box, folder, patch, stack):
        self.box, self.folder, self.patch, self.stack = box, folder, patch, stack

    def set(self, **environment):
        for name, value in environment.items():
            self.patch.setenv(name, value)

    def use(self, target, **environment):
        """Test this sandbox by its URL or its name, without a proxy to sandboxes."""
        self.set(TLSANDBOX=target, TENSORLAKE_SANDBOX_PROXY_URL="", **environment)

    def serve(self, *faults, **options):
        """Test a server that lists processes, or answers each request with a fault."""
        proxy = self.stack.enter_context(FaultProxy(**options))
        for fault in faults:
            proxy.fail(fault)
        self.use(proxy.url)


def do_not_answer_as_proxy(suite):
    suite.use("my-sandbox", HTTPS_PROXY=unused_url().replace("//", f"//me:{PASSWORD}@"))


def remove_a_package_of_the_extra(suite):
    suite.use("local")
    suite.patch.setattr(local_sandbox, "find_spec", lambda name: None if name == "psutil" else name)


WORKS = "run your tests: pytest"
SET_UPS = {
    "no key": (lambda suite: suite.set(TENSORLAKE_API_KEY=""), "set TENSORLAKE_API_KEY, "),
    "wrong key":
        (lambda suite: suite.set(TENSORLAKE_API_KEY=KEY), "check that TENSORLAKE_API_KEY is "),
    "wrong id": (lambda suite: suite.set(TLSANDBOX="my-sandbx"),
        "check the id or URL of the sandbox; it may have been terminated"),
    "proxy that does not answer": (do_not_answer_as_proxy,
        "check HTTPS_PROXY; to reach the sandbox without a proxy, add its host to NO_PROXY"),
    "self-signed certificate": (lambda suite: suite.serve(tls=make_certificate(suite.folder / "certificate.pem")),
        "check the address and the clock of this machine; if your network replaces certificates, "
        "set REQUESTS_CA_BUNDLE to a file with its certificate"),
    "suspended":
        (lambda suite: suite.serve(faults.NOT_RUNNING_SUSPENDED), "resume the sandbox before "),
    "no extra": (remove_a_package_of_the_extra, "run pip install 'pytest-tlsandbox[local]'"),
    "bad ini": (lambda suite: (suite.folder / "pytest.ini").write_text("[pytest]\ntlsandbox_timeout = soon"),
        "correct this setting, and run pytest --tlsandbox-doctor again"),
    "old daemon": (lambda suite: suite.use(suite.stack.enter_context(OldDaemon(suite.box)).url),
        f'{WORKS} (each "no" above says what is different for them)'),
    "everything works": (lambda suite: None, WORKS),
    "no sandbox": (lambda suite: suite.set(TLSANDBOX=""), "pass --tlsandbox local for "),
    "two sandboxes": (lambda suite: suite.set(TLSANDBOX="my-sandbox your-sandbox"),
        "your-sandbox: check the id or URL of the sandbox; "),
    "shared host": (lambda suite: suite.serve(faults.LIFECYCLE_PATH_NOT_FOUND),
        "pass this URL with --tlsandbox-proxy-url, and the id of the sandbox with --tlsandbox"),
    "unreadable row":
        (lambda suite: suite.serve(processes=[{"pid": 41}]), "update pytest-tlsandbox if "),
}  # fmt: skip
"""What the user has set up, and how the next step begins that the page names."""


@pytest.fixture
def suite(connected, pytester, monkeypatch):
    monkeypatch.setattr(doctor, "_PATIENCE", 0.1)
    for name in ("HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with ExitStack() as stack:
        yield Suite(connected, pytester.path, monkeypatch, stack)


def page(pytester):
    """Return the exit status and the page, in which # stands for what differs from run to run."""
    result = pytester.runpytest_inprocess("--tlsandbox-doctor")
    assert result.stderr.str() == ""
    text = re.sub(r"(?<=127\.0\.0\.1:)\d+|\d+ process(es)?|[\d.]+(?= ms)", "#", result.stdout.str())
    return result.ret, text


@pytest.mark.parametrize("name", SET_UPS)
def test_last_line_names_the_next_step(pytester, suite, name):
    set_up, step = SET_UPS[name]
    set_up(suite)

    status, text = page(pytester)

    assert text.splitlines()[-1].startswith(f"next: {step}")
    assert status == (0 if WORKS in step else 1)
    if "proxy" in name:
        assert "127.0.0.1:# with a password; from environment variable HTTPS_PROXY" in text
    for secret in (KEY, PASSWORD, suite.box.api_key.reveal()):
        assert secret not in text


# tests/test_pages.py compares the whole page of the embedded sandbox with the documentation.
FROM_CONFTEST = """
settings
  environment variable TLSANDBOX                     my-sandbox
  environment variable TENSORLAKE_SANDBOX_PROXY_URL  http://127.0.0.1:#
  tlsandbox_mask in tox.ini                          1 pattern

sandbox my-sandbox
  address               http://127.0.0.1:#, Host: my-sandbox.local
  HTTP proxy            none
  API key               accepted; from hook pytest_tlsandbox_api_key
"""


def test_page_uses_the_settings_of_the_conftest_and_sends_only_get_requests(pytester, suite):
    proxy = suite.stack.enter_context(FaultProxy(suite.box))
    suite.stack.enter_context(connected_to(suite.box)).start_process("true")
    suite.set(TENSORLAKE_SANDBOX_PROXY_URL=proxy.url)
    pytester.makeini("[pytest]\ntlsandbox_mask = acme-.*\n")
    pytester.makeconftest(
        """
        import os
        from pytest_tlsandbox import Secret

        KEY = os.environ.pop("TENSORLAKE_API_KEY")
        del os.environ["TLSANDBOX"]

        def pytest_configure(config):
            os.environ["TLSANDBOX"] = "my-sandbox"

        def pytest_tlsandbox_api_key(config, target):
            return Secret(KEY)
        """
    )

    status, text = page(pytester)

    assert status == 0
    versions = f"pytest-tlsandbox {pytest_tlsandbox.__version__}, pytest .*\nother plugins: "
    assert re.match(versions, text)
    assert FROM_CONFTEST in text
    assert "\n  handles               yes\n" in text
    assert "\n  The calls for this page keep the sandbox awake, or wake it.\n\nnext: " in text
    assert {line.partition(" ")[0] for line in proxy.requests} == {"GET"}


def test_page_shows_what_the_old_daemon_lacks(pytester, suite):
    daemon = suite.stack.enter_context(OldDaemon(suite.box))
    suite.stack.enter_context(connected_to(daemon)).start_process("true")
    suite.use(daemon.url)

    _, text = page(pytester)

    assert re.findall("^  (.+?)  +no: (.+)$", text, re.MULTILINE)[:3] == [
        ("tunnel to ports", "wait_for_port fails; use health_check= instead"),
        ("managed processes", "start_process fails if it receives name=, restart= or health_check="),
        ("handles", "the plugin identifies a run by its pid and its start time"),
    ]  # fmt: skip
