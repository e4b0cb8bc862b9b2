"""Run the embedded sandbox: real processes of this machine with the sandbox API (extra ``local``).

In the test process, ``sandbox`` starts and stops the server; ``__main__`` does so from a terminal.
The server is a separate process with these modules:

- ``server_process``: stops the server when its parent ends, and kills all processes of the sandbox;
- ``routes``, with ``asgi`` (requests, responses, routing), ``request_bodies``, ``http_errors`` and
  ``event_streams`` (server-sent events), ``files`` and ``tunnel``;
- ``managed_process`` and ``health_checks``: restarts, backoff and health checks;
- ``supervisor``: starts, reaps, signals and kills processes, with ``spawn``, ``user_accounts`` and
  ``environment`` (how a program is started) and ``process_table`` (which rows are kept);
- ``process``, ``standard_streams`` and ``process_tree``: one process, its streams, its descendants;
- ``memory_limit``: the interface of the memory limit; ``memory_mechanism`` selects
  ``memory_cgroup`` or ``memory_watchdog``.

The sandbox is not a security boundary: it runs commands as the current user.
"""
