"""Decides what a test asks about processes, and waits for the decision."""
