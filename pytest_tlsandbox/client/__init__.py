"""HTTP: the calls of the sandbox API, their retries, and what they return."""
