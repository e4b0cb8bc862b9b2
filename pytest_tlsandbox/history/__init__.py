"""The history of a sandbox: it folds snapshots into runs, and finds the incidents of these runs.

Checks, messages, guard and report read this history. No other package infers what happened.
"""
