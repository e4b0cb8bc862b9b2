"""Format numbers with units, names of processes, tables and other text."""
