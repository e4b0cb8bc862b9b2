"""Code that depends on private names of pytest or on other plugins."""
