"""Measurements of speed and memory, compared with alternatives: ``python -m benchmarks``."""
