"""Render results as text, by functions without side effects."""
