"""The wire: what is asked of a sandbox, and what comes back."""
