"""A server: that it comes up, that it stays up, that it is gone when it should be."""


def test_a_server_comes_up(tlsandbox):
    tlsandbox.start_process("python", ["-m", "http.server", "8765"])

    # "running" is true a moment before a crash at start as well, so ask for a second of it.
    server = tlsandbox.wait_for_process("http.server", stable_for=1, timeout=10)

    assert server.args[-1] == "8765"


def test_a_server_that_was_killed_is_gone(tlsandbox):
    server = tlsandbox.start_process("sleep", ["600"])

    tlsandbox.kill_process(server)

    tlsandbox.assert_not_running(server)
    tlsandbox.assert_no_oom(suspected=True)  # this SIGKILL is known to be ours


def test_a_worker_stays_up_under_load(tlsandbox):
    worker = tlsandbox.start_process("python", ["-c", "while True: sum(range(10000))"])

    tlsandbox.assert_stays(worker, stable_for=2)
