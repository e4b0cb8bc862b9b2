"""What an editor shows of a call under the pointer, asked of pyright's language server."""

from __future__ import annotations

import inspect
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox import AsyncSandbox, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
SERVER = Path(sys.executable).parent / "basedpyright-langserver"
CALLS = [name for name in dir(AsyncSandbox) if not name.startswith("_") and name != "baseline"]
CODE = "\n".join(
    [
        "from pytest_tlsandbox import AsyncSandbox, Sandbox",
        "def test_it(a: AsyncSandbox, b: Sandbox) -> None:",
        *(f"    a.{name}, b.{name}" for name in CALLS),
    ]
)


pytestmark = pytest.mark.timeout(60)  # should the server fall silent


class Editor:
    """The little of an editor that it takes to hover."""

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        assert server.stdin is not None
        assert server.stdout is not None
        self._to, self._from = server.stdin, server.stdout
        self._numbers = itertools.count(1)

    def tell(self, **message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._to.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._to.flush()

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        number = next(self._numbers)
        self.tell(id=number, method=method, params=params)
        while True:
            message = self._hear()
            if "method" not in message and message.get("id") == number:
                return message["result"]
            if "method" in message and "id" in message:  # the server's own questions
                settings = [{} for _ in message["params"].get("items", ())]
                self.tell(id=message["id"], result=settings)

    def _hear(self) -> dict[str, Any]:
        head = b"".join(iter(self._from.readline, b"\r\n"))
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None, head
        message: dict[str, Any] = json.loads(self._from.read(int(length[1])))
        return message

    def hover(self, line: int, column: int) -> str:
        place = {"line": line, "character": column}
        shown = self.ask("textDocument/hover", {"textDocument": {"uri": URI}, "position": place})
        return str(shown["contents"]["value"])


URI = (ROOT / "hovered.py").as_uri()


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    pytest.importorskip("basedpyright", reason="not among the oldest releases")
    command = [str(SERVER), "--stdio"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as server:
        editor = Editor(server)
        editor.ask(
            "initialize",
            {
                "processId": None,
                "workspaceFolders": [{"uri": ROOT.as_uri(), "name": ROOT.name}],
                "capabilities": {"textDocument": {"hover": {"contentFormat": ["markdown"]}}},
            },
        )
        editor.tell(method="initialized", params={})
        document = {"uri": URI, "languageId": "python", "version": 1, "text": CODE}
        editor.tell(method="textDocument/didOpen", params={"textDocument": document})
        yield editor
        editor.ask("shutdown", {})
        editor.tell(method="exit")


def prose(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


@pytest.mark.parametrize("name", CALLS)
def test_a_call_shows_its_arguments_and_its_docstring(editor: Editor, name: str) -> None:
    line = CALLS.index(name) + 2
    columns = {AsyncSandbox: 6, Sandbox: len(f"    a.{name}, b.")}
    for kind, column in columns.items():
        signature, _, text = editor.hover(line, column).partition("\n---\n")
        method = getattr(kind, name)
        assert f"def {name}(" in signature
        for argument in [*inspect.signature(method).parameters][1:]:
            assert re.search(rf"\b{argument}\b", signature), argument
        assert prose(text) == prose(inspect.getdoc(method) or "")
