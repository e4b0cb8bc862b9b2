"""The guard, which fails a test if an OOM kill or another incident happens during the test."""
