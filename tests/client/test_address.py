"""Where a sandbox is, and what that looks like on the wire."""

from types import SimpleNamespace

import pytest
from tensorlake._tracing import Traced
from tensorlake.sandbox import AsyncSandbox
from tensorlake.sandbox import Sandbox as SDKSandbox

from pytest_tlsandbox.client.address import Address, check_key, is_loopback, locate
from pytest_tlsandbox.errors import InvalidArgument, InvalidSetting
from pytest_tlsandbox.redact import Secret
from tests.client.conftest import KEY
from tests.client.servers import reply

EMPTY = reply(200, {"processes": []})
BAD_KEY = (
    "the hook: the API key must be ASCII text without spaces and line breaks, got an empty key or one "
    "with other characters; copy the key again"
)
BAD_URL = (
    "expected a URL of the form https://host[:port][/path] without user, password, query or "
    "fragment, got a text that is not shown because it may contain a password"
)


IN_HOST, IN_HEADER = {"Host": "abc.local"}, {"X-Tensorlake-Sandbox-Id": "abc"}


@pytest.mark.parametrize(
    ("target", "proxy_url", "url", "headers"),
    [
        ("abc", None, "https://abc.sandbox.tensorlake.ai", {}),
        ("abc", "http://localhost:9443", "http://localhost:9443", IN_HOST),
        ("abc", "http://127.0.0.1:9443", "http://127.0.0.1:9443", IN_HOST),
        ("abc", "http://127.0.0.2:9443", "http://127.0.0.2:9443", IN_HEADER),
        ("abc", "https://sandbox.tensorlake.ai/", "https://sandbox.tensorlake.ai", IN_HEADER),
        ("abc", "https://proxy.example:8443/a/b", "https://proxy.example:8443", IN_HEADER),
        ("https://x.example/base/", None, "https://x.example/base", {}),
        ("https://x.example", "http://localhost:1", "https://x.example", {}),
    ],
)
def test_text_is_located(target, proxy_url, url, headers):
    label = target.rstrip("/")

    assert locate(target, proxy_url) == Address(label, url, headers)


def test_address_is_located_as_it_is():
    address = locate("abc")

    assert locate(address, "http://localhost:9443") is address


@pytest.mark.parametrize("target", ["", "two words", "a/b", "-x", "abc.example", "é"])
def test_text_that_does_not_name_a_sandbox_is_rejected(target):
    with pytest.raises(InvalidSetting) as raised:
        locate(target)

    assert str(raised.value) == (
        "sandbox: expected 'local', the id or name of a sandbox (letters, digits, - and _) or a URL, "
        f"got {target!r}"
    )


def test_a_proxy_url_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(InvalidSetting) as raised:
        locate("abc", "https://user:hunter2@proxy.example")

    assert str(raised.value) == f"proxy URL: {BAD_URL}"


# The wire


@pytest.mark.parametrize(
    ("host", "target", "line", "host_header", "id_header"),
    [
        ("127.0.0.1", "abc", "GET /api/v1/processes HTTP/1.1", "abc.local", None),
        ("127.0.0.2", "abc", "GET /api/v1/processes HTTP/1.1", "127.0.0.2:{port}", "abc"),
        (
            "127.0.0.1",
            "{url}/base/",
            "GET /base/api/v1/processes HTTP/1.1",
            "127.0.0.1:{port}",
            None,
        ),
    ],
    ids=["id behind a loopback proxy", "id behind another proxy", "URL"],
)
def test_request_names_the_sandbox(serve, client, host, target, line, host_header, id_header):
    server = serve(EMPTY, host=host)

    client(locate(target.format(url=server.url), server.url)).list()

    assert server.request.line == line
    assert server.request.headers["host"] == host_header.format(port=server.port)
    assert server.request.headers.get("x-tensorlake-sandbox-id") == id_header


# Objects


def test_an_embedded_sandbox_is_located_with_its_key():
    embedded = SimpleNamespace(
        identifier="local", url="http://127.0.0.1:9443", api_key=Secret(KEY), memory_limit=None
    )

    assert locate(embedded) == Address(
        "local", "http://127.0.0.1:9443", {"Host": "local.local"}, Secret(KEY)
    )


def sdk_object(kind, proxy_url, **options):
    make = AsyncSandbox if kind == "async" else SDKSandbox
    sandbox = make(identifier="abc", proxy_url=proxy_url, api_key=KEY, **options)
    return Traced("trace", sandbox) if kind == "traced" else sandbox


@pytest.mark.parametrize("kind", ["plain", "traced", "async"])
def test_a_sandbox_of_the_sdk_is_located_with_its_key(kind):
    address = locate(sdk_object(kind, "http://127.0.0.1:9443"))

    assert address == Address("abc", "http://127.0.0.1:9443", {"Host": "abc.local"}, Secret(KEY))


def test_a_sandbox_of_the_sdk_without_a_key_brings_none():
    sandbox = SDKSandbox(identifier="abc", proxy_url="http://127.0.0.1:9443", api_key=None)

    assert locate(sandbox).key is None


def test_organization_and_project_of_an_sdk_sandbox_are_forwarded():
    sandbox = sdk_object(
        "plain", "https://p.example", organization_id="org-1", project_id="project-1"
    )

    assert locate(sandbox).headers == {
        "X-Tensorlake-Sandbox-Id": "abc",
        "X-Forwarded-Organization-Id": "org-1",
        "X-Forwarded-Project-Id": "project-1",
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "LOCALHOST"])
@pytest.mark.parametrize("path", ["", "/", "/some/path"])
def test_we_address_a_sandbox_as_the_sdk_does(serve, client, host, path):
    server = serve(EMPTY, host="127.0.0.2" if host == "127.0.0.2" else "127.0.0.1")
    sandbox = sdk_object("plain", f"http://{host}:{server.port}{path}")

    sandbox.list_processes()
    client(locate(sandbox)).list()

    theirs, ours = server.requests
    assert ours.line == theirs.line
    for header in ("host", "authorization", "x-tensorlake-sandbox-id"):
        assert ours.headers.get(header) == theirs.headers.get(header)


@pytest.mark.parametrize(
    "thing",
    [
        None,
        41,
        object(),
        SimpleNamespace(_proxy_url="http://localhost:1"),
        SimpleNamespace(_proxy_url=object(), _identifier="abc"),
    ],
    ids=["None", "a number", "an object", "no identifier", "a URL that is no text"],
)
def test_object_that_is_not_a_sandbox_is_rejected(thing):
    with pytest.raises(InvalidArgument) as raised:
        locate(thing)

    assert str(raised.value) == (
        "a sandbox must be an id, a name, a URL or a connected tensorlake.sandbox.Sandbox, got a value "
        f"of type {type(thing).__name__}"
    )


def test_an_address_shows_no_key():
    address = locate(sdk_object("plain", "http://127.0.0.1:9443"))

    assert KEY not in repr(address)


def test_equal_addresses_are_one_key_of_a_dict():
    first, second = (locate("abc", "http://localhost:9443") for _ in range(2))

    assert {first: 1}[second] == 1


# Keys


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://localhost", True),
        ("http://LOCALHOST:80/x", True),
        ("http://127.0.0.1:9443", True),
        ("http://127.8.9.10", True),
        ("http://[::1]:9443", True),
        ("http://[::2]:9443", False),
        ("http://127.0.0.1.example.com", False),
        ("http://127.example.com", False),
        ("http://localhost.example.com", False),
        ("http://10.0.0.1", False),
        ("http://128.0.0.1", False),
        ("https://abc.sandbox.tensorlake.ai", False),
    ],
)
def test_a_url_of_this_machine_is_known(url, here):
    assert is_loopback(url) is here


@pytest.mark.parametrize(
    "key",
    [
        "sentinel\nkey",
        "sentinel\r\nX: key",
        "sentinel key",
        "sentinel\u2026key",
        "sentinel\x00",
        "",
    ],
    ids=["line break", "header", "space", "non-ASCII", "NUL", "empty"],
)
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key):
    with pytest.raises(InvalidSetting) as raised:
        check_key(Secret(key), locate("abc"), "the hook")

    assert str(raised.value) == BAD_KEY


def test_white_space_around_a_key_is_dropped():
    assert check_key(Secret(f" {KEY}\n"), locate("abc"), "the hook") == Secret(KEY)


@pytest.mark.parametrize(
    "url", ["https://x.example", "http://localhost:1", "http://127.0.0.2:1", "http://[::1]:1"]
)
def test_a_key_goes_over_https_and_to_this_machine(url):
    assert check_key(Secret(KEY), locate(url), "the hook") == Secret(KEY)


@pytest.mark.parametrize(
    ("target", "proxy_url"),
    [("http://x.example", None), ("abc", "http://x.example"), ("http://127.0.0.1.nip.io", None)],
    ids=["url", "proxy url", "look-alike"],
)
def test_a_key_does_not_go_over_plain_http_to_another_machine(target, proxy_url):
    address = locate(target, proxy_url)

    with pytest.raises(InvalidSetting) as raised:
        check_key(Secret(KEY), address, "the hook")

    assert str(raised.value) == (
        f"{target}: the API key must not be sent over plain http to another machine; use https"
    )


def test_the_key_is_sent_as_a_bearer(serve, connect):
    server = serve(EMPTY)

    connect(server).request("GET", "/processes")

    assert server.request.headers["authorization"] == f"Bearer {KEY}"
    assert server.request.headers["user-agent"] == "test/1"
    assert server.request.headers["accept"] == "application/json"
