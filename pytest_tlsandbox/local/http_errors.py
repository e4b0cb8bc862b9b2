"""Define the errors that the server converts to responses."""

from __future__ import annotations


class ApiError(Exception):
    """An error whose response has the JSON body ``{"error": ..., "code": ...}``.

    Attributes:
        status: the HTTP status.
        code: the code in the response, such as "NOT_FOUND"; None if the response does not contain a
            code.

    """

    def __init__(self, status: int, error: str, code: str | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.code = code


class PlainTextError(Exception):
    """An error that the daemon's web framework reports in a plain text response.

    Attributes:
        status: the HTTP status.

    """

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
