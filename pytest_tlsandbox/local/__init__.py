"""The embedded sandbox: real processes of this machine behind the sandbox API (extra ``local``).

In the process of the tests, ``sandbox`` starts the server and ends it (``__main__`` does so from a
terminal). In the server, a process of its own:

- ``server_process``: ends the server with its parent, and everything it started with the server;
- ``routes``, with ``request_bodies``, ``http_errors`` and ``event_streams`` (server-sent events);
- ``managed_process`` and ``health_checks``: restarts, backoff, and whether a process is healthy;
- ``supervisor``: starts, reaps, signals and kills, with ``spawn``, ``user_accounts`` and
  ``environment`` (how a program is started) and ``process_table`` (which rows are kept);
- ``process``, ``standard_streams`` and ``process_tree``: one process, its streams, its descendants;
- ``memory_selection``: the memory limit, by ``memory_cgroup`` or ``memory_watchdog``; the interface is
  ``memory_limit``.

It is not a security boundary: it runs commands as you.
"""
