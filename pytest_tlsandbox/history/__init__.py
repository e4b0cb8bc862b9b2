"""Convert the snapshots of a sandbox to a history of runs, and find incidents in these runs.

This history is the source for checks, messages, the guard and the report. Other packages do not
infer from snapshots what happened in a sandbox.
"""
