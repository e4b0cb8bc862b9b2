"""Test that the file routes respond like the daemon and change files only where allowed."""

import itertools
import os
import stat
import tempfile
from pathlib import Path

import psutil
import pytest

from pytest_tlsandbox.local.environment import WRITABLE
from tests.contract.sandbox_api import refusal

from .conftest import new_sandbox

MIB = 2**20


def call(api, method, path, route="/files", **more):
    return api.call(method, route, params={"path": str(path)}, **more)


def test_folder_listing_contains_special_files_and_times_in_milliseconds(api, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()
    for entry in tmp_path.iterdir():
        os.utime(entry, ns=(0, 1_700_000_000_123_456_789))

    answer = call(api, "GET", tmp_path, "/files/list")

    same = {"is_dir": False, "size": 0, "modified_at": 1_700_000_000_123}
    entries = [{"name": name, **same} for name in ("pipe", "\ufffd")]
    assert answer.json() == {"path": str(tmp_path), "entries": entries}


EVERY_REQUEST = ["GET /files", "PUT /files", "DELETE /files", "GET /files/list"]


@pytest.mark.parametrize(
    ("request_lines", "path", "error"),
    [
        (EVERY_REQUEST, "folder/../file", (403, "PATH_TRAVERSAL")),
        (EVERY_REQUEST, "nul\0byte", (500, "INTERNAL_ERROR")),
        (EVERY_REQUEST, "long" * 100, (500, "INTERNAL_ERROR")),
        (["GET /files"], "pipe", (500, "INTERNAL_ERROR")),
        (["GET /files"], "/dev/zero", (500, "INTERNAL_ERROR")),
        (["GET /files"], "/proc/self/mem", (500, "INTERNAL_ERROR")),  # the first read fails
        (["GET /files"], "/proc/99999999/stat", (404, "NOT_FOUND")),
    ],
)
def test_file_request_with_an_unusable_path_is_rejected(api, tmp_path, request_lines, path, error):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    os.mkfifo(tmp_path / "pipe")
    for request_line in request_lines:
        method, route = request_line.split()
        assert refusal(call(api, method, tmp_path / path, route))[::2] == error
    assert {entry.name for entry in tmp_path.rglob("*")} == {"folder", "file", "pipe"}
    assert (tmp_path / "file").read_text() == "kept"


def test_error_of_the_operating_system_is_reported_with_status_500(api, tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below"
    for request_line, error in {
        "GET /files": f"Failed to read file {path}: Not a directory",
        "PUT /files": f"Failed to create file {path}: File exists",
        "DELETE /files": f"Failed to delete file {path}: Not a directory",
        "GET /files/list": f"Failed to list folder {path}: Not a directory",
    }.items():
        method, route = request_line.split()
        assert refusal(call(api, method, path, route)) == (500, error, "INTERNAL_ERROR")


def test_server_transfers_a_large_file_without_holding_it_in_memory(api, sandbox, tmp_path):
    part, count = os.urandom(MIB), 50
    before = psutil.Process(sandbox.pid).memory_info().rss
    Path(f"/proc/{sandbox.pid}/clear_refs").write_text("5")  # reset the peak of memory use
    assert call(api, "PUT", tmp_path / "large", data=iter([part] * count)).status_code == 204
    content = call(api, "GET", tmp_path / "large").content
    assert content == (tmp_path / "large").read_bytes() == part * count
    status = Path(f"/proc/{sandbox.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    assert peak - before < 20 * MIB


# ---------------------------------------------------------- where it may write


@pytest.fixture
def elsewhere():
    """Provide a folder outside the temporary folders."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder).resolve()


def test_relative_path_is_resolved_against_the_working_folder_of_programs(elsewhere, monkeypatch):
    monkeypatch.chdir(elsewhere)
    with new_sandbox() as api:
        assert call(api, "PUT", "new/file", data=b"content\n").status_code == 204
        assert api.printed("cat", "new/file") == ["content"]
        (entry,) = call(api, "GET", "", "/files/list").json()["entries"]
        assert entry["name"] == "new"
        assert call(api, "DELETE", elsewhere / "new/file").status_code == 204
    assert not (elsewhere / "new/file").exists()


def test_error_for_a_file_outside_the_allowed_folders_names_the_setting(api, elsewhere, tmp_path):
    (elsewhere / "file").write_text("kept")
    (tmp_path / "link").symlink_to(elsewhere)
    folders = dict.fromkeys(map(os.path.realpath, (".", tempfile.gettempdir(), "/tmp")))
    error = (
        f"{elsewhere}/file cannot be written or deleted: the embedded sandbox writes and deletes files "
        f"only in {'/, '.join(folders)}/. To allow more folders, list the folders in the environment "
        "variable TLSANDBOX_LOCAL_WRITABLE, separated by ':'"
    )
    for method, folder in itertools.product(("PUT", "DELETE"), (elsewhere, tmp_path / "link")):
        answer = call(api, method, folder / "file", data=b"x")
        assert refusal(answer) == (403, error, "WRITE_NOT_ALLOWED")
    assert [entry.read_text() for entry in elsewhere.iterdir()] == ["kept"]


def test_setting_allows_writes_to_additional_folders(elsewhere, monkeypatch):
    monkeypatch.setenv(WRITABLE, f"/nowhere:{elsewhere}/allowed")
    with new_sandbox() as api:
        assert call(api, "PUT", elsewhere / "allowed/file", data=b"x").status_code == 204
        for refused in ("allowed", "allowed2/file"):
            assert call(api, "PUT", elsewhere / refused).status_code == 403
        assert call(api, "DELETE", elsewhere / "allowed/file").status_code == 204


def test_write_to_a_link_overwrites_its_target_but_a_delete_removes_only_the_link(api, tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o755)
    link.symlink_to("file")
    call(api, "PUT", link, data=b"new")
    assert call(api, "GET", link).text == file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    call(api, "DELETE", link)
    assert list(tmp_path.iterdir()) == [file]
