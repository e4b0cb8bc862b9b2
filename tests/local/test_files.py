"""Test that the file routes respond like the daemon and change files only where allowed."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import requests

from pytest_tlsandbox.local.environment import WRITABLE
from tests.contract.sandbox_api import refusal

from .conftest import Api, new_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tlsandbox.local.sandbox import LocalSandbox

MIB = 2**20


def call(api: Api, method: str, path: Any, route: str = "/files", **more: Any) -> requests.Response:
    return api.call(method, route, params={"path": str(path)}, **more)


def test_folder_listing_is_sorted_and_does_not_follow_links(api: Api, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("12345")
    for folder in ("z", "a"):
        (tmp_path / folder).mkdir()
    (tmp_path / "link").symlink_to("z")
    os.mkfifo(tmp_path / "pipe")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()
    for entry in tmp_path.iterdir():
        os.utime(entry, ns=(0, 1_700_000_000_123_456_789), follow_symlinks=False)

    answer = call(api, "GET", tmp_path, "/files/list")

    entries = [("a", True, None), ("z", True, None), ("b", False, 5), ("link", False, 1)]
    entries += [("pipe", False, 0), ("\ufffd", False, 0)]
    names = ("name", "is_dir", "size", "modified_at")
    assert answer.json() == {
        "path": str(tmp_path),
        "entries": [
            dict(zip(names, (*entry, 1_700_000_000_123), strict=True)) for entry in entries
        ],
    }


@pytest.mark.parametrize(
    ("request_line", "path", "error"),
    [
        ("GET /files", "folder", (400, "IS_DIRECTORY")),
        ("PUT /files", "folder", (500, "INTERNAL_ERROR")),
        ("DELETE /files", "folder", (500, "INTERNAL_ERROR")),
        ("GET /files/list", "file", (400, "NOT_A_DIRECTORY")),
        *(
            (request_line, "missing", (404, "NOT_FOUND"))
            for request_line in ("GET /files", "DELETE /files", "GET /files/list")
        ),
        *(
            (request_line, path, error)
            for request_line in ("GET /files", "PUT /files", "DELETE /files", "GET /files/list")
            for path, error in {
                "folder/../file": (403, "PATH_TRAVERSAL"),
                "nul\0byte": (500, "INTERNAL_ERROR"),
                "long" * 100: (500, "INTERNAL_ERROR"),
            }.items()
        ),
        ("GET /files", "pipe", (500, "INTERNAL_ERROR")),
        ("GET /files", "/dev/zero", (500, "INTERNAL_ERROR")),
        ("GET /files", "/proc/self/mem", (500, "INTERNAL_ERROR")),  # the first read fails
        ("GET /files", "/proc/99999999/stat", (404, "NOT_FOUND")),
    ],
)
def test_file_request_with_an_unusable_path_is_rejected(
    api: Api, tmp_path: Path, request_line: str, path: str, error: tuple[int, str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    os.mkfifo(tmp_path / "pipe")
    method, route = request_line.split()
    answer = call(api, method, os.path.join(tmp_path, path), route)
    assert refusal(answer)[::2] == error
    assert {entry.name for entry in tmp_path.rglob("*")} == {"folder", "file", "pipe"}
    assert (tmp_path / "file").read_text() == "kept"


def test_request_without_a_path_returns_400_in_plain_text(api: Api) -> None:
    answer = api.call("PUT", "/files", data=b"content")
    error = "Failed to deserialize query string: missing field `path`"
    assert (answer.status_code, answer.text) == (400, error)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_server_transfers_a_100_mb_file_without_holding_it_in_memory(
    api: Api, sandbox: LocalSandbox, tmp_path: Path
) -> None:
    part, count = os.urandom(MIB), 100
    before = psutil.Process(sandbox.pid).memory_info().rss

    def peak() -> int:
        status = Path(f"/proc/{sandbox.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    Path(f"/proc/{sandbox.pid}/clear_refs").write_text("5")  # reset the peak of memory use
    assert call(api, "PUT", tmp_path / "large", data=iter([part] * count)).status_code == 204
    content = call(api, "GET", tmp_path / "large").content
    assert content == (tmp_path / "large").read_bytes() == part * count
    assert peak() - before < 20 * MIB


def test_overwritten_file_keeps_its_permissions(api: Api, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.touch()
    script.chmod(0o755)
    call(api, "PUT", script, data=b"#!/bin/sh\n")
    assert stat.S_IMODE(script.stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("method", "route", "action", "reason"),
    [
        ("GET", "/files", "read file", "Not a directory"),
        ("PUT", "/files", "create file", "File exists"),
        ("DELETE", "/files", "delete file", "Not a directory"),
        ("GET", "/files/list", "list folder", "Not a directory"),
    ],
)
def test_response_to_a_file_request_is_500_if_the_operating_system_reports_an_error(
    api: Api, tmp_path: Path, method: str, route: str, action: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below"
    error = f"Failed to {action} {path}: {reason}"
    assert refusal(call(api, method, path, route, data=b"")) == (500, error, "INTERNAL_ERROR")


# ---------------------------------------------------------- where it may write


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """Provide a folder outside the temporary folders."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder).resolve()


def test_relative_path_is_resolved_against_the_working_folder_of_programs(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(elsewhere)
    with new_sandbox() as api:
        assert call(api, "PUT", "new/file", data=b"content\n").status_code == 204
        assert api.printed("cat", "new/file") == ["content"]
        assert [
            entry["name"] for entry in call(api, "GET", "", "/files/list").json()["entries"]
        ] == ["new"]
        assert call(api, "DELETE", elsewhere / "new/file").status_code == 204
    assert not (elsewhere / "new/file").exists()


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_error_for_a_file_outside_the_allowed_folders_names_the_setting(
    api: Api, elsewhere: Path, tmp_path: Path, method: str
) -> None:
    (elsewhere / "file").write_text("kept")
    (tmp_path / "link").symlink_to(elsewhere)
    folders = dict.fromkeys(map(os.path.realpath, (".", tempfile.gettempdir(), "/tmp")))
    error = (
        f"{elsewhere}/file cannot be written or deleted: the embedded sandbox writes and deletes files "
        f"only in {'/, '.join(folders)}/. To allow more folders, list the folders in the environment "
        "variable TLSANDBOX_LOCAL_WRITABLE, separated by ':'"
    )
    for path in (elsewhere / "file", tmp_path / "link/file"):
        answer = call(api, method, path, data=b"x")
        assert refusal(answer) == (403, error, "WRITE_NOT_ALLOWED")
    assert [entry.read_text() for entry in elsewhere.iterdir()] == ["kept"]


def test_setting_allows_writes_to_additional_folders(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WRITABLE, f"/nowhere:{elsewhere}/allowed")
    with new_sandbox() as api:
        assert call(api, "PUT", elsewhere / "allowed/file", data=b"x").status_code == 204
        for refused in ("allowed", "allowed2/file"):
            answer = call(api, "PUT", elsewhere / refused)
            assert refusal(answer)[::2] == (403, "WRITE_NOT_ALLOWED")
        assert call(api, "DELETE", elsewhere / "allowed/file").status_code == 204


def test_writing_to_a_link_changes_its_target_but_deleting_a_link_removes_only_the_link(
    api: Api, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    call(api, "PUT", tmp_path / "link", data=b"new")
    assert call(api, "GET", tmp_path / "link").text == (tmp_path / "file").read_text() == "new"
    call(api, "DELETE", tmp_path / "link")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
