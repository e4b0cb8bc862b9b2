"""The history of a sandbox. It converts snapshots to runs, and finds incidents in these runs.

Checks, messages, the guard and the report read this history. No other package infers what happened
in a sandbox.
"""
