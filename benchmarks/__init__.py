"""What is measured, beside what it is measured against: ``python -m benchmarks``."""
