"""Conditions: each evaluates a snapshot, and returns one of three results.

The results are met, pending (it may still be met) and impossible (it can no longer be met, with
the reason). A result may have a settling time: it counts once it has not changed for that long.
"""
