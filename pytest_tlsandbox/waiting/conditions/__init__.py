"""Conditions: each evaluates one snapshot, with one of three results.

Met is checked first. Impossible is final, for the reason it gives. Anything else is pending.
A result may have a settling time: it counts once it has been the same for so long.
"""
