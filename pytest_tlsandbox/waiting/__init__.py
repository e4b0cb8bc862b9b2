"""Waits: select processes, evaluate conditions on them, and poll until the result is final."""
