"""The fault proxy, a certificate with each flaw."""

import socket
import time

import pytest
import requests

from pytest_tlsandbox import errors
from tests.client.servers import connected
from tests.fault_proxy import FaultProxy, faults, make_certificate
from tests.support import raw

READY = faults.SANDBOX_NOT_READY


def get(proxy, path="/api/v1/processes"):
    with requests.Session() as session:
        session.trust_env = False
        return session.get(proxy.url + path, timeout=5)


def test_alone_it_lists_the_rows_it_was_given():
    with FaultProxy(processes=[raw(41)]) as proxy, connected(proxy) as box:
        assert [row.pid for row in box.list_processes()] == [41]
        proxy.processes = [raw(42)]
        assert [row.pid for row in box.list_processes()] == [42]
        assert get(proxy, "/api/v1/info").status_code == 404


def test_fault_lasts_for_a_number_of_requests():
    with FaultProxy() as proxy:
        proxy.fail(READY, times=2)
        assert [get(proxy).status_code for _ in range(3)] == [503, 503, 200]


def test_fault_lasts_for_a_number_of_seconds():
    with FaultProxy() as proxy:
        begun = time.monotonic()
        proxy.fail(READY, seconds=0.3)
        while get(proxy).status_code == 503:
            pass
        assert time.monotonic() - begun > 0.29


def test_one_fault_follows_another_and_recover_ends_all():
    with FaultProxy() as proxy:
        proxy.fail(READY, times=1).then(faults.KEY_REFUSED, times=1).then(faults.PROXY_ERROR)
        assert [get(proxy).status_code for _ in range(4)] == [503, 401, 502, 502]
        proxy.recover()
        assert get(proxy).status_code == 200


def test_only_the_selected_requests_fail():
    with FaultProxy() as proxy:
        proxy.fail(READY, only="/info")
        assert get(proxy).status_code == 200
        assert get(proxy, "/api/v1/info").status_code == 503
        assert proxy.requests == ["GET /api/v1/processes", "GET /api/v1/info"]


def test_while_it_refuses_nothing_listens_and_nobody_else_can_take_the_port():
    with FaultProxy() as proxy:
        port = int(proxy.url.rpartition(":")[2])
        proxy.fail(faults.REFUSED)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind(("127.0.0.1", port))
        proxy.recover()
        assert get(proxy).status_code == 200


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("self-signed", None),
        ("expired", "the certificate has expired"),
        ("for another host", "the certificate is for another host"),
    ],
)
def test_certificate_has_the_requested_flaw(tmp_path, monkeypatch, flaw, reason):
    path = str(tmp_path / "certificate.pem")
    with FaultProxy(tls=make_certificate(path, flaw)) as proxy:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", path)
        with connected(proxy) as trusting:
            if reason is None:
                assert len(trusting.list_processes()) == 0
            else:
                with pytest.raises(errors.SandboxUnreachable) as caught:
                    trusting.list_processes()
                assert caught.value.first_line == (
                    f"fault-proxy cannot be reached: TLS failed ({reason})"
                )
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with connected(proxy) as box, pytest.raises(errors.SandboxUnreachable, match="TLS failed"):
            box.list_processes()


def test_it_shows_no_key():
    with FaultProxy() as proxy:
        assert repr(proxy) == f"<FaultProxy at {proxy.url}>"
        assert proxy.api_key.reveal() not in f"{vars(proxy)}"
