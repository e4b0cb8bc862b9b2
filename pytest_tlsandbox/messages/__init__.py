"""How it is told: pure functions from what was seen to text."""
