"""Benchmarks that compare the plugin with other ways: run ``python -m benchmarks``."""
