"""The hooks a conftest can implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_tlsandbox.redact import Secret


@pytest.hookspec(firstresult=True)
def pytest_tlsandbox_api_key(config: pytest.Config, target: object) -> str | Secret | None:
    """Return the API key for a sandbox, from a vault say; None leaves it to others.

    Without an answer the environment variable ``TENSORLAKE_API_KEY`` is used. ``target`` is what
    was given with ``--tlsandbox``, returned from ``tlsandbox_target`` or passed to
    ``tlsandbox_connect``.
    """
