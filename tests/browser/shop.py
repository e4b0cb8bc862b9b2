"""A suite for a picture: a server that takes too much memory again and again, and other processes.

It is not an example of good tests. `tools/picture.py` and `with_chromium.py` run it on `local`.
"""

import time

import pytest

GROWS = "import time\nkept = []\nwhile True: kept.append(bytearray(12 << 20)); time.sleep(0.03)"
AGAIN = {"policy": "on_failure", "max_restarts": 8, "initial_backoff_ms": 150}
READS = "echo reading stock.db; echo 'stock.db: no such table' >&2; sleep 0.3; exit 4"


@pytest.fixture(scope="module", autouse=True)
def queue(tlsandbox_session):
    return tlsandbox_session.start_process("sleep", ["600"], name="queue")


@pytest.fixture(scope="module")
def web(tlsandbox_session):
    return tlsandbox_session.start_process("python", ["-c", GROWS], name="web", restart=AGAIN)


def test_prices(tlsandbox):
    for number in range(3):
        args = ["-c", "sleep 0.2", f"price-{number}.sh", "--token=tl_secret"]
        tlsandbox.wait_for_exit(tlsandbox.start_process("sh", args))


def test_checkout(tlsandbox, web):
    tlsandbox.wait_for_process(web, stable_for=0.3)


@pytest.mark.parametrize("number", range(3))
def test_orders(tlsandbox, web, number):
    job = tlsandbox.start_process("sh", ["-c", f"sleep 0.4; exit {number}", "orders.sh"])
    tlsandbox.wait_for_exit(job, exit_code=number)
    time.sleep(0.3)


@pytest.mark.skip(reason="no printer")
def test_receipt(): ...


def test_stock(tlsandbox):
    tlsandbox.wait_for_exit(tlsandbox.start_process("sh", ["-c", READS, "stock.sh"]))


@pytest.mark.tlsandbox_allow("crash", reason="what mail does after a crash is tested")
def test_mail(tlsandbox):
    job = tlsandbox.start_process("sh", ["-c", "sleep 0.2; kill -SEGV $$", "mail.sh"])
    tlsandbox.wait_for_process(job, status="signaled")
