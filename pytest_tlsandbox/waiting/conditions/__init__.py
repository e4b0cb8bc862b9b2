"""Conditions, which evaluate a snapshot and return one of three results.

A condition is met, pending (it may still be met), or impossible (it can no longer be met). If a
result has a settling time, the wait accepts the result only after the result has stayed the same
for that time.
"""
