"""A server that starts, that keeps running, and that is stopped."""


def test_server_starts(tlsandbox):
    tlsandbox.start_process("python", ["-m", "http.server", "8765"])

    # A server that crashes at its start also runs for a moment, so require one second.
    server = tlsandbox.wait_for_process("http.server", stable_for=1, timeout=10)

    assert server.args[-1] == "8765"


def test_killed_server_does_not_run(tlsandbox):
    server = tlsandbox.start_process("sleep", ["600"])

    tlsandbox.kill_process(server)

    tlsandbox.assert_not_running(server)
    tlsandbox.assert_no_oom(suspected=True)  # the plugin knows that it sent this SIGKILL


def test_worker_keeps_running_under_load(tlsandbox):
    worker = tlsandbox.start_process("python", ["-c", "while True: sum(range(10000))"])

    tlsandbox.assert_stays(worker, stable_for=2)
