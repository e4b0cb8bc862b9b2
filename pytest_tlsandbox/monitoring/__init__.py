"""The monitor, which takes snapshots around each test for the guard and the report."""
