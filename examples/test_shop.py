"""A small shop: a database, a migration, a web server that needs both, and a pool of workers.

The tests contain no sleep and no polling loop, and run unchanged on a real sandbox.
"""

import signal

import pytest

from pytest_tlsandbox import UnexpectedExit

DATABASE_PORT, WEB_PORT = "8771", "8772"

DATABASE = """
import socketserver, sys, time

class Store(socketserver.StreamRequestHandler):
    rows = {}

    def handle(self):
        for line in self.rfile:
            key, *value = line.decode().split()
            self.rows.update({key: word for word in value})
            self.wfile.write(f"{self.rows.get(key, 'nothing')}\\n".encode())

time.sleep(0.1)  # it reads its files, and is not ready yet
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer.daemon_threads = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Store).serve_forever()
"""
CONNECT = """
import http.server, signal, socket, sys, urllib.request

def ask(words):
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as database:
            database.sendall(words.encode() + b"\\n")
            return database.makefile().readline().strip()
    except ConnectionError:
        sys.exit("no database")
"""
MIGRATION = f"{CONNECT}\nask('schema 2'); print('migrated to', ask('schema'))"
WEB = f"""{CONNECT}
class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"schema " + ask("schema").encode())

ask("web started")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Shop).serve_forever()
"""
WORKER = f"""{CONNECT}
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
ask("worker ready")
print("ready")
try:
    signal.pause()
finally:
    print("finished its job")
"""
CLIENT = f"{CONNECT}\nprint(urllib.request.urlopen(sys.argv[2]).read().decode())"


@pytest.fixture
def start(tlsandbox):
    """Return a function that starts one of our programs."""

    def start(code, *args, **options):
        args = ["-c", code, DATABASE_PORT, *args]
        return tlsandbox.start_process("python", args, env={"PYTHONUNBUFFERED": "1"}, **options)

    return start


@pytest.fixture
def database(tlsandbox, start):
    database = start(DATABASE, name="database")
    tlsandbox.wait_for_port(database, int(DATABASE_PORT), timeout=10)
    yield database
    tlsandbox.stop_process(database)


@pytest.fixture
def migration(tlsandbox, database):
    return tlsandbox.run_process("python", ["-c", MIGRATION, DATABASE_PORT], timeout=10)


@pytest.fixture
def web(tlsandbox, migration, start):
    again = {"policy": "always", "initial_backoff_ms": 10}
    web = start(WEB, WEB_PORT, name="web", restart=again)
    return tlsandbox.wait_for_port(web, int(WEB_PORT), timeout=10)


def test_migration_updates_the_schema(migration):
    assert (migration.stdout, migration.stderr) == ("migrated to 2", "")


def test_web_server_answers_with_data_from_the_database(tlsandbox, web):
    url = f"http://127.0.0.1:{WEB_PORT}/"

    answer = tlsandbox.run_process("python", ["-c", CLIENT, DATABASE_PORT, url], timeout=10)

    assert answer.stdout == "schema 2"
    tlsandbox.assert_no_incidents()


def test_web_server_without_a_database_fails_and_the_wait_ends_at_once(tlsandbox, start):
    web = start(WEB, WEB_PORT)

    with pytest.raises(UnexpectedExit, match="no database"):
        tlsandbox.wait_for_port(web, int(WEB_PORT), timeout=60)


def test_killed_web_server_is_restarted_and_becomes_ready_again(tlsandbox, web):
    tlsandbox.send_signal(web, signal.SIGKILL)

    again = tlsandbox.wait_for_restart("web", timeout=10)
    tlsandbox.wait_for_port(again, int(WEB_PORT), timeout=10)


def test_worker_that_is_stopped_finishes_its_job_and_the_others_go_on(tlsandbox, database, start):
    workers = [start(WORKER, "a-shop-worker", number) for number in "123"]
    tlsandbox.wait_for_count("a-shop-worker", 3, timeout=10)

    tlsandbox.wait_for_output(workers[0], "ready", timeout=10)  # it runs, but is it ready?

    stopped = tlsandbox.stop_process(workers[0], grace=5)

    assert tlsandbox.output(stopped) == ["ready", "finished its job"]
    tlsandbox.wait_for_count("a-shop-worker", 2, timeout=10)
    tlsandbox.assert_no_incidents()
