"""The embedded sandbox: real processes of this machine behind the sandbox API (extra ``local``).

Two sides of one pipe. In the test's process: ``server`` starts the sandbox and ends it
(``__main__`` does so from a terminal). In a child process of its own:

- ``child``: what ends with whom;
- ``app``: the routes, with ``bodies`` and ``fields`` (what requests say) and ``streams`` (what is sent
  while a process runs);
- ``managed`` and ``health``: processes that are started again, and asked how they are;
- ``supervisor``: the one reaper, with ``spawn`` and ``user`` (how a program is started, and as whom)
  and ``table`` (what is kept);
- ``process``, ``pipes`` and ``tree``: one process, its streams, its descendants;
- ``memory`` with ``cgroups`` and ``watchdog``: the limit, and who was killed by it.

It is no security boundary: it runs commands as you.
"""
