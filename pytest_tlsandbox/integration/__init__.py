"""What touches pytest and its other plugins."""
