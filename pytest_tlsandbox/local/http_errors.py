"""The error that the API answers with; one of the daemon's web framework is an HTTPException."""

from __future__ import annotations


class ApiError(Exception):
    """A refused request. The answer is JSON: ``{"error": ..., "code": ...}``; some have no code."""

    def __init__(self, status: int, error: str, code: str | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.code = code
