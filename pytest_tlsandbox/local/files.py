"""Read, write, delete and list files of this machine.

This module reports errors in the same way as the daemon. A path is absolute, or relative to the
working folder of the server. Links are followed.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from io import BufferedReader, FileIO
from typing import IO, TYPE_CHECKING, Any

from pytest_tlsandbox.local.environment import WRITABLE
from pytest_tlsandbox.local.http_errors import ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

_PART = 256 * 1024


class Files:
    """The files of this machine.

    The sandbox may read every file that its user may read. The sandbox may write and delete files
    only below some folders, because the machine usually belongs to a developer.
    """

    def __init__(self, writable: Sequence[str]) -> None:
        """Allow changes only below the folders in ``writable``."""
        # Add a slash at the end, so that /tmp-other is not below /tmp.
        self._writable = tuple(os.path.join(os.path.realpath(folder), "") for folder in writable)

    def read(self, path: str) -> AsyncIterator[bytes]:
        """Return a file's content in parts. A reported size of 0, as in ``/proc``, is ignored."""
        with _errors_to_responses("read file", path):
            located = _locate(path)
            mode = os.stat(located).st_mode
            if stat.S_ISDIR(mode):
                error = f"{located} is a directory: /api/v1/files/list lists its entries"
                raise ApiError(400, error, "IS_DIRECTORY")
            if not stat.S_ISREG(mode):  # reading a pipe or a terminal would block the server
                raise ValueError("not a regular file")
            file = BufferedReader(FileIO(located))
            # Read the first part now, while the status can still report an error.
            return _parts(file, file.read(_PART))

    async def write(self, path: str, parts: AsyncIterator[bytes]) -> None:
        """Write a file. If the file exists, replace it and keep its permissions.

        This method also creates missing parent folders. Readers see the old file until the new file
        is complete.
        """  # noqa: DOC501 - the error becomes a response
        with _errors_to_responses("create file", path):
            target = os.path.realpath(_locate(path))
            self._check_writable(target)
            if os.path.isdir(target):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            folder = os.path.dirname(target)
            os.makedirs(folder, exist_ok=True)
            unfinished = os.path.join(folder, f".tlsandbox-{secrets.token_hex(8)}")
            try:
                with open(unfinished, "xb") as file:
                    async for part in parts:
                        file.write(part)
                with suppress(FileNotFoundError):
                    shutil.copymode(target, unfinished)
                os.replace(unfinished, target)
            finally:
                with suppress(OSError):
                    os.unlink(unfinished)

    def delete(self, path: str) -> None:
        """Delete a file. If the path is a link, delete the link and keep its target."""
        with _errors_to_responses("delete file", path):
            folder, name = os.path.split(_locate(path))
            target = os.path.join(os.path.realpath(folder), name)
            self._check_writable(target)
            os.unlink(target)

    def entries(self, path: str) -> list[dict[str, Any]]:
        """Return the entries of a folder, sorted by name, with folders first."""
        with _errors_to_responses("list folder", path):
            located = _locate(path)
            if not stat.S_ISDIR(os.stat(located).st_mode):
                raise ApiError(400, f"{located} is not a directory", "NOT_A_DIRECTORY")
            with os.scandir(os.fsencode(located)) as scan:
                found = [described for entry in scan if (described := _describe(entry))]
        return sorted(found, key=lambda entry: (not entry["is_dir"], entry["name"]))

    def _check_writable(self, path: str) -> None:
        if not path.startswith(self._writable):
            raise ApiError(
                403,
                f"{path} cannot be written or deleted: the embedded sandbox writes and deletes files "
                f"only in {', '.join(dict.fromkeys(self._writable))}. To allow more folders, list the "
                f"folders in the environment variable {WRITABLE}, separated by '{os.pathsep}'",
                "WRITE_NOT_ALLOWED",
            )


def writable_by_default() -> list[str]:
    """Return the working folder and the temporary folders."""
    # Suites for the service write to /tmp, wherever the temporary folder of this machine is.
    return [os.getcwd(), tempfile.gettempdir(), "/tmp"]  # noqa: S108


def _locate(path: str) -> str:
    if ".." in path.split("/"):
        raise ApiError(403, "Path traversal detected: '..' is not allowed", "PATH_TRAVERSAL")
    return os.path.join(os.getcwd(), path)


@contextmanager
def _errors_to_responses(action: str, path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ApiError(404, f"File not found: {path}", "NOT_FOUND") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ApiError(500, f"Failed to {action} {path}: {reason}", "INTERNAL_ERROR") from None


async def _parts(file: IO[bytes], part: bytes) -> AsyncIterator[bytes]:
    with file:
        while part:
            yield part
            part = file.read(_PART)


def _describe(entry: os.DirEntry[bytes]) -> dict[str, Any] | None:
    """Return the fields of an entry, or None if it has been deleted in the meantime."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    is_dir = stat.S_ISDIR(status.st_mode)
    return {
        "name": entry.name.decode("utf-8", errors="replace"),
        "is_dir": is_dir,
        "size": None if is_dir else status.st_size,
        "modified_at": status.st_mtime_ns // 1_000_000,
    }
