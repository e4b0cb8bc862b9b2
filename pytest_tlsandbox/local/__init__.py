"""Run the embedded sandbox, which serves the sandbox API for real processes on this machine.

In the test process, the module ``sandbox`` starts and stops the server. In a terminal, the module
``__main__`` runs a sandbox until Ctrl-C. The server is a separate process, which uses these
modules:

- ``server_process`` stops the server when its parent ends, and kills all processes of the sandbox.
- ``routes`` serves the API. This module uses ``asgi`` (requests, responses, errors and routing),
  ``event_streams`` (server-sent events), ``request_bodies``, ``files`` and ``tunnel``.
- ``managed_process`` implements restarts, backoff and health checks.
- ``supervisor`` starts, reaps, signals and kills processes. ``spawn`` starts a program, and
  ``process_table`` keeps the rows.
- ``process``, ``standard_streams`` and ``process_tree`` represent one process, its streams and its
  descendants.
- ``memory_limit`` defines the interface for memory limits. ``memory_cgroup`` and
  ``memory_watchdog`` implement this interface.
- ``environment`` removes the secrets from the environment that the server and its programs inherit.

The embedded sandbox is not a security boundary, because it runs commands as the current user.
"""
