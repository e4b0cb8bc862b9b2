"""What was seen in a test session, for machines: a JSON document with a schema of its own."""
