"""Code that depends on pytest's private names and on other plugins."""
