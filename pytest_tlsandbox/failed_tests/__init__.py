"""Add the cause and the sandbox events to the report of each failed test."""
