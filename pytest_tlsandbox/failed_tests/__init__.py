"""Add the cause and the events in sandboxes to the reports of failed tests."""
