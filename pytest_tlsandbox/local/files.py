"""Read, write, delete and list files on this machine.

This module reports errors in the same way as the daemon. A path is absolute, or relative to the
working folder of the server. Links are followed.
"""

import os
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from pytest_tlsandbox.local.asgi import ApiError, PlainTextError, Request, Response, json_response
from pytest_tlsandbox.local.environment import WRITABLE

_PART = 256 * 1024


class Files:
    """The routes for the files on this machine.

    The sandbox may read every file that its user may read. The sandbox may write and delete files
    only below some folders, because the machine usually belongs to a developer.

    Instead of the machine's ``/proc/vmstat``, which counts the OOM kills of all programs of the
    machine, the sandbox returns the number of its own OOM kills.

    Args:
        writable: more folders in which the sandbox may change files, besides the working folder and
            the temporary folders.
        kills: a function that returns the number of OOM kills; None if nothing counts them.

    """

    def __init__(self, writable: Iterable[str], kills: Callable[[], int | None]) -> None:
        self._kills = kills
        # Suites for the service write to /tmp, wherever the temporary folder of this machine is.
        folders = [os.getcwd(), tempfile.gettempdir(), "/tmp", *writable]  # noqa: S108
        # Add a slash at the end, so that /tmp-other is not below /tmp.
        self._writable = tuple(os.path.join(os.path.realpath(folder), "") for folder in folders)

    async def read(self, request: Request) -> Response:
        """Return a file's content in parts. If ``/proc`` reports a size of 0, ignore it."""
        with _located(request, "read file") as path:
            if os.path.isdir(path):
                error = f"{path} is a directory: /api/v1/files/list lists its entries"
                raise ApiError(400, error, "IS_DIRECTORY")
            if path == "/proc/vmstat":
                kills = self._kills()
                text = "" if kills is None else f"oom_kill {kills}\nsandbox_only 1\n"
                return Response(text.encode(), content_type="application/octet-stream")
            _refuse_special(path)
            file = open(path, "rb")  # noqa: SIM115 - _parts closes it
            # Read the first part now, while the status can still report an error.
            content = _parts(file, file.read(_PART))
            return Response(content, content_type="application/octet-stream")

    async def write(self, request: Request) -> Response:
        """Write a file, and create missing parent folders."""
        with _located(request, "create file") as path:
            target = os.path.realpath(path)
            self._check_writable(target)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            _refuse_special(target)
            with open(target, "wb") as file:
                async for part in request.chunks():
                    file.write(part)
        return Response(status=204)

    async def delete(self, request: Request) -> Response:
        """Delete a file. If the path is a link, delete the link and keep its target."""
        with _located(request, "delete file") as path:
            folder, name = os.path.split(path)
            target = os.path.join(os.path.realpath(folder), name)
            self._check_writable(target)
            os.unlink(target)
        return Response(status=204)

    async def list_folder(self, request: Request) -> Response:
        """Return the entries of a folder, sorted by name, with folders first."""
        entries = []
        with _located(request, "list folder") as path:
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise ApiError(400, f"{path} is not a directory", "NOT_A_DIRECTORY")
            with os.scandir(os.fsencode(path)) as scan:
                for entry in scan:
                    with suppress(FileNotFoundError):  # it has been deleted in the meantime
                        entries.append(_describe(entry))
        entries.sort(key=lambda entry: (not entry["is_dir"], entry["name"]))
        return json_response({"path": request.query["path"], "entries": entries})

    def _check_writable(self, path: str) -> None:
        if not path.startswith(self._writable):
            raise ApiError(
                403,
                f"{path} cannot be written or deleted: the embedded sandbox writes and deletes files "
                f"only in {', '.join(dict.fromkeys(self._writable))}. To allow more folders, list the "
                f"folders in the environment variable {WRITABLE}, separated by '{os.pathsep}'",
                "WRITE_NOT_ALLOWED",
            )


@contextmanager
def _located(request: Request, action: str) -> Iterator[str]:
    """Yield the absolute path that a request names, and convert errors to responses."""
    path = request.query.get("path")
    if path is None:
        raise PlainTextError(400, "Failed to deserialize query string: missing field `path`")
    if ".." in path.split("/"):
        raise ApiError(403, "Path traversal detected: '..' is not allowed", "PATH_TRAVERSAL")
    try:
        yield os.path.join(os.getcwd(), path)
    except FileNotFoundError:
        raise ApiError(404, f"File not found: {path}", "NOT_FOUND") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ApiError(500, f"Failed to {action} {path}: {reason}", "INTERNAL_ERROR") from None


def _refuse_special(path: str) -> None:
    """Raise ``ValueError`` for a pipe or a terminal, which would block the server."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("not a regular file")


async def _parts(file: IO[bytes], part: bytes) -> AsyncIterator[bytes]:
    with file:
        while part:
            yield part
            part = file.read(_PART)


def _describe(entry: os.DirEntry[bytes]) -> dict[str, Any]:
    status = entry.stat(follow_symlinks=False)
    is_dir = stat.S_ISDIR(status.st_mode)
    return {
        "name": entry.name.decode("utf-8", errors="replace"),
        "is_dir": is_dir,
        "size": None if is_dir else status.st_size,
        "modified_at": status.st_mtime_ns // 1_000_000,
    }
