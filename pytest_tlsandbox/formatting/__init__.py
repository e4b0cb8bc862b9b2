"""Format text: numbers with units, names of processes, tables."""
