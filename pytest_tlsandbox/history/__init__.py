"""The history of a sandbox, which converts snapshots to runs and finds the incidents of runs.

Checks, messages, the guard and the report read this history. No other package infers what happened
in a sandbox.
"""
