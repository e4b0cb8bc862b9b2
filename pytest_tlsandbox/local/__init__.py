"""Run the embedded sandbox, which serves the sandbox API for real processes of this machine.

The module ``sandbox`` starts and stops the server in the test process, and the module ``__main__``
does so in a terminal. The server is a separate process, which uses these modules:

- ``server_process`` stops the server when its parent ends, and kills all processes of the sandbox.
- ``routes`` serves the API. For this, ``routes`` uses ``asgi`` (requests, responses and routing),
  ``event_streams`` (server-sent events), ``request_bodies``, ``http_errors``, ``files`` and
  ``tunnel``.
- ``managed_process`` and ``health_checks`` implement restarts, backoff and health checks.
- ``supervisor`` starts, reaps, signals and kills processes. ``spawn``, ``user_accounts`` and
  ``environment`` start a program, and ``process_table`` keeps the rows.
- ``process``, ``standard_streams`` and ``process_tree`` represent one process, its streams and its
  descendants.
- ``memory_limit`` defines the interface of memory limits. ``memory_mechanism`` selects
  ``memory_cgroup`` or ``memory_watchdog``.

The embedded sandbox is not a security boundary, because it runs commands as the current user.
"""
