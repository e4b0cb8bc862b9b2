"""Test how a sandbox is located, how requests name it, and where keys may be sent."""

import re
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from tensorlake._tracing import Traced
from tensorlake.sandbox import AsyncSandbox
from tensorlake.sandbox import Sandbox as SDKSandbox

from pytest_tlsandbox import InvalidSetting, Secret
from pytest_tlsandbox.client.address import Address, check_key, locate
from tests.client.conftest import KEY
from tests.client.servers import reply
from tests.support import failure

EMPTY = reply(200, {"processes": []})
IN_HOST, IN_HEADER = {"Host": "abc.local"}, {"X-Tensorlake-Sandbox-Id": "abc"}


PLACES = [
    ("abc", None, "https://abc.sandbox.tensorlake.ai", {}),
    ("abc", "http://localhost:9443", "http://localhost:9443", IN_HOST),
    ("abc", "http://127.0.0.1:9443", "http://127.0.0.1:9443", IN_HOST),
    ("abc", "http://127.0.0.2:9443", "http://127.0.0.2:9443", IN_HEADER),
    ("abc", "https://sandbox.tensorlake.ai/", "https://sandbox.tensorlake.ai", IN_HEADER),
    ("abc", "https://proxy.example:8443/a/b", "https://proxy.example:8443", IN_HEADER),
    ("https://x.example/base/", None, "https://x.example/base", {}),
    ("https://x.example", "http://localhost:1", "https://x.example", {}),
]


@pytest.mark.parametrize(("target", "proxy_url", "url", "headers"), PLACES)
def test_sandbox_is_located_by_id_or_url(target, proxy_url, url, headers):
    assert locate(target, proxy_url) == Address(target.rstrip("/"), url, headers)


# Objects

HERE, PROXY = "http://127.0.0.1:9443", "https://p.example"
EMBEDDED = SimpleNamespace(identifier="local", url=HERE, api_key=Secret(KEY), memory_limit=None)


def sdk(proxy_url=HERE, make=SDKSandbox, **options):
    return make(**{"identifier": "abc", "proxy_url": proxy_url, "api_key": KEY, **options})


PROJECT = {"X-Forwarded-Organization-Id": "org-1", "X-Forwarded-Project-Id": "project-1"}
SANDBOXES = {
    "embedded": (lambda: EMBEDDED, "local", HERE, {"Host": "local.local"}, KEY),
    "SDK": (sdk, "abc", HERE, IN_HOST, KEY),
    "SDK in a trace": (lambda: Traced("trace", sdk()), "abc", HERE, IN_HOST, KEY),
    "SDK async": (lambda: sdk(make=AsyncSandbox), "abc", HERE, IN_HOST, KEY),
    "SDK without a key": (lambda: sdk(api_key=None), "abc", HERE, IN_HOST, None),
    "SDK with a project": (
        lambda: sdk(PROXY, organization_id="org-1", project_id="project-1"),
        *("abc", PROXY, {**IN_HEADER, **PROJECT}, KEY),
    ),
}


@pytest.mark.parametrize(
    ("make", "label", "url", "headers", "key"), SANDBOXES.values(), ids=SANDBOXES
)
def test_sandbox_object_provides_its_address_and_key(make, label, url, headers, key):
    assert locate(make()) == Address(label, url, headers, key and Secret(key))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "LOCALHOST"])
@pytest.mark.parametrize("path", ["/", "/some/path"])
def test_request_identifies_the_sandbox_in_the_same_way_as_the_sdk(serve, client, host, path):
    server = serve(EMPTY, host="127.0.0.2" if host == "127.0.0.2" else "127.0.0.1")
    sandbox = sdk(f"http://{host}:{server.port}{path}")

    sandbox.list_processes()
    client(locate(sandbox)).list()

    theirs, ours = server.requests
    assert ours.line == theirs.line
    for header in ("host", "authorization", "x-tensorlake-sandbox-id"):
        assert ours.headers.get(header) == theirs.headers.get(header)


def test_request_to_a_sandbox_url_keeps_the_url_path_and_sends_the_key(serve, client):
    server = serve(EMPTY)

    client(locate(f"{server.url}/base/")).list()

    assert server.request.line == "GET /base/api/v1/processes HTTP/1.1"
    assert server.request.headers.items() >= {
        ("host", f"127.0.0.1:{server.port}"), ("authorization", f"Bearer {KEY}"),
        ("user-agent", f"pytest-tlsandbox/{version('pytest-tlsandbox')}"), ("accept", "application/json"), ("accept-encoding", "gzip, deflate"),
    }  # fmt: skip


# Keys


@pytest.mark.parametrize(
    "key", ["sentinel\r\nX: y", "sentinel x", "sentinel\u2026", "sentinel\0", ""]
)
def test_invalid_key_is_rejected_with_a_message_that_does_not_show_the_key(key):
    error = failure(lambda: check_key(Secret(key), locate("abc"), "the hook"), InvalidSetting)

    assert str(error).startswith("the hook: the API key must be ASCII text without spaces")
    assert "sentinel" not in str(error)


LOOPBACK = "localhost", "LOCALHOST:80/x", "127.0.0.1:9443", "127.8.9.10", "[::1]:9443"
REMOTE = (
    "[::2]:9443", "127.0.0.1.example.com", "127.example.com", "localhost.example.com",
    "10.0.0.1", "128.0.0.1", "127.0.0.1.nip.io",
)  # fmt: skip


@pytest.mark.parametrize("url", ["https://x.example", *(f"http://{host}" for host in LOOPBACK)])
def test_key_is_sent_over_https_or_to_this_machine_without_surrounding_white_space(url):
    assert check_key(Secret(f" {KEY}\n"), locate(url), "the hook") == Secret(KEY)


@pytest.mark.parametrize("host", REMOTE)
def test_key_is_not_sent_over_plain_http_to_another_machine(host):
    for address in locate(f"http://{host}"), locate("abc", f"http://{host}"):
        why = "the API key must not be sent over plain http to another machine; use https"
        with pytest.raises(InvalidSetting, match=re.escape(f"{address.label}: {why}")):
            check_key(Secret(KEY), address, "the hook")
