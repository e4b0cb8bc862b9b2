"""The report of a session: a JSON document with a schema, or a page with a timeline."""
