"""The history of a sandbox, which converts snapshots to runs and finds the incidents of runs.

This history is the source for checks, messages, the guard and the report. No other package infers
what happened in a sandbox.
"""
