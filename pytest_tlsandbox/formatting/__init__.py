"""Format text, such as process names, tables, and numbers with units."""
