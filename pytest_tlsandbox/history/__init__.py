"""The history of a sandbox, which converts snapshots to runs and finds incidents of the runs.

Checks, messages, the guard and the report read this history. No other package infers what happened
in a sandbox.
"""
