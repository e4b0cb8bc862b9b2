"""Run an embedded sandbox in a terminal until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import InvalidSetting, LocalSandboxError
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from pytest_tlsandbox.setting_parsers import parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tlsandbox.local.sandbox import LocalSandbox


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or until the server exits by itself.

    When this process ends, even if SIGKILL ends it, the server and all processes of the sandbox end
    too.

    Args:
        arguments: the command line options; None for the options in ``sys.argv``.

    Returns:
        The exit code: 0 after Ctrl-C, 1 if the sandbox does not start or the server exits by
        itself.

    """
    options = _parse(arguments)
    try:
        with start_local_sandbox(
            memory_limit=options.memory, identifier=options.id, port=options.port
        ) as sandbox:
            sys.stdout.write(_describe(sandbox))
            sys.stdout.flush()
            try:
                sandbox.wait()
            except KeyboardInterrupt:
                return 0
    except LocalSandboxError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write("The embedded sandbox has ended unexpectedly\n")
    return 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m pytest_tlsandbox.local", description=__doc__)
    parser.add_argument(
        "--port", type=_port, default=0, help="port of 127.0.0.1 (default: a free port)"
    )
    parser.add_argument(
        "--memory",
        type=_memory,
        metavar="SIZE",
        help="limit on the total memory of all processes, such as 512M or 2G (default: none)",
    )
    parser.add_argument("--id", default="local", help="id of the sandbox (default: local)")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 2**16:
        return int(text)
    message = f"expected a port from 0 to 65535, got {text!r}"
    raise argparse.ArgumentTypeError(message)


def _memory(text: str) -> int:
    try:
        return parse_size(text, "--memory")
    except InvalidSetting as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--memory: ")) from None


def _describe(sandbox: LocalSandbox) -> str:
    url, key = sandbox.url, sandbox.api_key.reveal()
    return f"""\
URL   {url}
key   {key}
SDK   Sandbox(identifier="{sandbox.identifier}", proxy_url="{url}", api_key="{key}")
curl  curl -H "Authorization: Bearer {key}" {url}/api/v1/processes
"""


if __name__ == "__main__":
    sys.exit(main())
