"""Render results as text; all functions are pure."""
