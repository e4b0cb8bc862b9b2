"""Run an embedded sandbox in a terminal until Ctrl-C."""

import argparse
import sys

from pytest_tlsandbox.errors import InvalidSetting, LocalSandboxError
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from pytest_tlsandbox.setting_parsers import parse_size


def main() -> int | str:
    """Serve until Ctrl-C or until the server exits by itself.

    When this process ends, even if SIGKILL ends it, the server and all processes of the sandbox end
    too.

    Returns:
        0 after Ctrl-C; the error if the sandbox does not start or the server exits by itself.

    """
    parser = argparse.ArgumentParser("python -m pytest_tlsandbox.local", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=0, help="port of 127.0.0.1 (default: a free port)"
    )
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="limit on the total memory of all processes, such as 512M or 2G (default: none)",
    )
    parser.add_argument("--id", default="local", help="id of the sandbox (default: local)")
    options = parser.parse_args()
    try:
        limit = None if options.memory is None else parse_size(options.memory, "--memory")
        sandbox = start_local_sandbox(memory_limit=limit, identifier=options.id, port=options.port)
        with sandbox:
            url, key = sandbox.url, sandbox.api_key.reveal()
            sys.stdout.write(
                f"URL   {url}\n"
                f"key   {key}\n"
                f'SDK   Sandbox(identifier="{sandbox.identifier}", proxy_url="{url}", api_key="{key}")\n'
                f'curl  curl -H "Authorization: Bearer {key}" {url}/api/v1/processes\n'
            )
            sys.stdout.flush()
            sandbox.wait()
    except KeyboardInterrupt:
        return 0
    except (InvalidSetting, LocalSandboxError) as error:
        return str(error)
    return "The embedded sandbox has ended unexpectedly"


if __name__ == "__main__":
    sys.exit(main())
