"""Format text, such as numbers with units, names of processes and tables."""
