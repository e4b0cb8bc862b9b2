"""Snapshots around each test, which the guard and the report share."""
