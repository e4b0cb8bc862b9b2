"""The embedded sandbox: real processes of this machine behind the sandbox API (extra ``local``).

Two sides of one pipe. In the test's process: ``server`` starts the sandbox and ends it. In a child
process of its own: ``child`` (what ends with whom), ``app`` (routes) and ``bodies`` (what requests
say), ``supervisor`` (the process table and the one reaper), ``process``, ``pipes`` and ``tree`` (one
process, its streams, its descendants), ``memory`` with ``cgroups`` and ``watchdog`` (the limit, and
who was killed by it).

It is no security boundary: it runs commands as you.
"""
