"""The HTTP client: calls of the sandbox API, retries, and the parsing of responses."""
