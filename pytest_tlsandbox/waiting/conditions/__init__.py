"""Conditions, which evaluate a snapshot and return one of three results.

A condition is met, pending (it may still be met), or impossible (it can no longer be met). If a
result has a settling time, it counts only after it has stayed the same for that time.
"""
