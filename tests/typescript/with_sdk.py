"""The official TypeScript SDK works directly with the embedded sandbox."""

import os
import socket
import subprocess
import threading
from pathlib import Path

from pytest_tlsandbox.local.sandbox import start_local_sandbox


def echo(listener: socket.socket) -> None:
    """Send back what the first client sends."""
    client, _ = listener.accept()
    with client:
        while data := client.recv(1024):
            client.sendall(data)


def test_typescript_sdk_uses_files_and_the_tunnel(tmp_path):
    with start_local_sandbox() as sandbox, socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=echo, args=(listener,), daemon=True).start()
        variables = {
            "SANDBOX_ID": sandbox.identifier,
            "SANDBOX_URL": sandbox.url,
            "SANDBOX_KEY": sandbox.api_key.reveal(),
            "FOLDER": str(tmp_path),
            "PORT": str(listener.getsockname()[1]),
        }
        command = ["node_modules/.bin/node", "sdk.mjs"]
        options = {"cwd": Path(__file__).parent, "env": os.environ | variables, "timeout": 60}
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert (done.stdout, done.stderr, done.returncode) == ("passed\n", "", 0)
