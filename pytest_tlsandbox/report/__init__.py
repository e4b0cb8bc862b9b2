"""The report of a session: either a JSON document that follows a schema, or an HTML timeline."""
