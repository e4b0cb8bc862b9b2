"""What a failed test shows beside its own error: what happened in the sandbox, and the cause."""
