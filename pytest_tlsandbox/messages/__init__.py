"""Functions without side effects that render results as text."""
