"""An extension of griffe: show the reStructuredText in docstrings as Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Markdown(griffe.Extension):  # type: ignore[misc]  # griffe is not here
    """Replace roles and literal blocks of reStructuredText."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring:
            text = re.sub(r":\w+:`~?(.+?)`", r"`\1`", obj.docstring.value)
            obj.docstring.value = re.sub(r"^::\n\n", "", text, flags=re.MULTILINE)
