"""Add to the report of a failed test what happened in the sandbox, and the cause."""
