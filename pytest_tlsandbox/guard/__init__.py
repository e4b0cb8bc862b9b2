"""The gate: what happens to the processes behind a test's back turns that test red."""
