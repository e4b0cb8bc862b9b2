"""The report of a session, which is a JSON document with a schema or a page with a timeline."""
