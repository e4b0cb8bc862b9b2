"""Define the errors that the server answers with a status and a body."""

from __future__ import annotations


class ApiError(Exception):
    """A rejected request, answered with JSON: ``{"error": ..., "code": ...}``.

    Attributes:
        status: the HTTP status.
        code: the code in the response, such as "NOT_FOUND"; None if the response has no code.

    """

    def __init__(self, status: int, error: str, code: str | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.code = code


class PlainTextError(Exception):
    """A request that the daemon's web framework rejects, answered with plain text.

    Attributes:
        status: the HTTP status.

    """

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
