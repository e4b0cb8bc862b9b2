"""What happened to the processes of a sandbox: snapshots folded into runs, and incidents of them.

Everything that decides or explains reads this history. Nothing else infers what happened.
"""
