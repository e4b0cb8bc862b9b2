"""Validation of the arguments of helpers."""
