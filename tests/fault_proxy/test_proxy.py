"""The fault proxy: how long a fault lasts, and which requests it affects."""

import socket
import time

import pytest
import requests

from tests.client.servers import connected
from tests.fault_proxy import FaultProxy, faults
from tests.support import raw

READY = faults.SANDBOX_NOT_READY


def get(proxy, path="/api/v1/processes"):
    with requests.Session() as session:
        session.trust_env = False
        return session.get(proxy.url + path, timeout=5)


@pytest.fixture
def proxy():
    with FaultProxy(processes=[raw(41)]) as proxy:
        yield proxy


def test_fault_proxy_without_a_sandbox_lists_the_given_rows_and_hides_the_key(proxy):
    with connected(proxy) as box:
        assert [row.pid for row in box.list_processes()] == [41]
        proxy.processes = [raw(42)]
        assert [row.pid for row in box.list_processes()] == [42]
    assert get(proxy, "/api/v1/info").status_code == 404
    assert repr(proxy) == f"<FaultProxy at {proxy.url}>"
    assert proxy.api_key.reveal() not in f"{vars(proxy)}"


def test_faults_are_injected_in_order_and_the_last_fault_persists_until_recovery(proxy):
    proxy.fail(READY, times=2).then(faults.KEY_REFUSED, times=1).then(faults.PROXY_ERROR)
    assert [get(proxy).status_code for _ in range(5)] == [503, 503, 401, 502, 502]
    proxy.recover()
    assert get(proxy).status_code == 200


def test_fault_can_be_limited_to_a_number_of_seconds(proxy):
    begun = time.monotonic()
    proxy.fail(READY, seconds=0.3)
    while get(proxy).status_code == 503:
        pass
    assert time.monotonic() - begun > 0.29


def test_fault_affects_only_the_selected_requests(proxy):
    proxy.fail(READY, only="/info")
    assert get(proxy).status_code == 200
    assert get(proxy, "/api/v1/info").status_code == 503
    assert proxy.requests == ["GET /api/v1/processes", "GET /api/v1/info"]


def test_fault_proxy_that_refuses_connections_stops_listening_but_keeps_its_port(proxy):
    port = int(proxy.url.rpartition(":")[2])
    proxy.fail(faults.REFUSED)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
    with pytest.raises(OSError, match="in use"), socket.socket() as other:
        other.bind(("127.0.0.1", port))
    proxy.recover()
    assert get(proxy).status_code == 200
