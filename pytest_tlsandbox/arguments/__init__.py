"""Validate the arguments of helpers."""
