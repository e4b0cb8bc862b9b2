"""Select processes, evaluate conditions, and poll until the result is final."""
