"""All that a person types."""
