"""Checks of what the callers of helpers pass."""
