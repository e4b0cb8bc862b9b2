"""The code of waits: it selects processes, evaluates conditions, and polls for a final result."""
