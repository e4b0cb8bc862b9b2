"""Files and the tunnel."""

import time

import pytest

from .facts import assumed, documented, measured
from .sandbox_api import refusal

PORT = 18_458
LISTEN = f"import socket; s = socket.create_server(('127.0.0.1', {PORT})); print('up', flush=True)\nwhile True: s.accept()"


class Folder:
    """A folder in the sandbox."""

    def __init__(self, api):
        self.api = api
        self.path = f"/tmp/contract-{time.time_ns()}"

    def call(self, method, name, route="", **more):
        path = name if name.startswith("/") else f"{self.path}/{name}"
        return self.api.call(method, f"/files{route}", params={"path": path}, **more)


@pytest.fixture
def folder(api):
    folder = Folder(api)
    yield folder
    api.run("rm", "-rf", folder.path)


CONTENTS = {"plain": bytes(range(256)), "new/folders/a b?#%+": b"text\r\n", "\u00fc": b""}


@documented("doc", needs="files")
@pytest.mark.parametrize(("name", "content"), CONTENTS.items())
def test_file_can_be_written_read_and_deleted(folder, name, content):
    answer = folder.call("PUT", name, data=content)
    assert (answer.status_code, answer.content) == (204, b"")
    answer = folder.call("GET", name)
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert folder.call("DELETE", name).status_code == 204
    assert folder.call("GET", name).status_code == 404


@documented("doc", needs="files")
def test_program_reads_the_file_that_a_client_wrote(folder):
    folder.call("PUT", "file", data=b"content\n")
    assert folder.api.printed("cat", f"{folder.path}/file") == ["content"]


@measured("old daemon", needs="files")
def test_folder_listing_contains_folders_first_and_does_not_follow_links(folder):
    script = "mkdir -p z a && printf 12345 >b && ln -s z link"
    folder.call("PUT", "b", data=b"")
    folder.api.run("sh", "-c", script, working_dir=folder.path)
    answer = folder.call("GET", folder.path, "/list")
    assert (answer.status_code, answer.json()["path"]) == (200, folder.path)
    entries = answer.json()["entries"]
    found = [(entry["name"], entry["is_dir"], entry["size"]) for entry in entries]
    assert found == [("a", True, None), ("z", True, None), ("b", False, 5), ("link", False, 1)]
    assert all(isinstance(entry["modified_at"], int) for entry in entries)


@measured("old daemon", needs="files")
@pytest.mark.parametrize(
    ("method", "route", "name", "status", "code"),
    [
        ("GET", "", "folder", 400, "IS_DIRECTORY"),
        ("PUT", "", "folder", 500, "INTERNAL_ERROR"),
        ("DELETE", "", "folder", 500, "INTERNAL_ERROR"),
        ("GET", "/list", "folder/file", 400, "NOT_A_DIRECTORY"),
        ("GET", "", "missing", 404, "NOT_FOUND"),
        ("DELETE", "", "missing", 404, "NOT_FOUND"),
        ("GET", "/list", "missing", 404, "NOT_FOUND"),
        ("GET", "", "folder/../folder/file", 403, "PATH_TRAVERSAL"),
        ("PUT", "", "folder/../folder/file", 403, "PATH_TRAVERSAL"),
    ],
)
def test_file_request_with_an_unusable_path_is_rejected(folder, method, route, name, status, code):
    folder.call("PUT", "folder/file", data=b"kept")
    found, _, found_code = refusal(folder.call(method, name, route))
    assert (found, found_code) == (status, code)
    assert folder.call("GET", "folder/file").content == b"kept"


@measured("old daemon", needs="files")
def test_file_in_proc_is_read_completely(folder):
    fields = dict(line.split(":") for line in folder.call("GET", "/proc/meminfo").text.splitlines())
    assert int(fields["MemTotal"].split()[0]) > 0


@assumed("no source", needs="files", trait="kernel_counter")
def test_sandbox_counts_oom_kills_in_proc_vmstat(folder):
    lines = folder.call("GET", "/proc/vmstat").text.splitlines()
    assert int(dict(line.split() for line in lines)["oom_kill"]) >= 0


# ------------------------------------------------------------------------ tunnel


@documented("doc", needs="tunnel")
@pytest.mark.parametrize("query", ["", "?port=0", "?port=65536", "?port=http"])
def test_tunnel_to_an_invalid_port_is_rejected_with_400(api, query):
    assert api.handshake(query).status_code == 400


@documented("doc", needs="tunnel")
def test_tunnel_to_a_port_that_no_program_listens_on_is_rejected_with_502(api):
    assert api.handshake("?port=9").status_code == 502


@documented("doc", needs="tunnel python")
def test_tunnel_to_a_port_that_a_program_listens_on_is_opened(api):
    api.lines(api.start("python3", "-c", LISTEN), at_least=1)
    answer = api.handshake(f"?port={PORT}")
    assert (answer.status_code, answer.headers["upgrade"].lower()) == (101, "websocket")
