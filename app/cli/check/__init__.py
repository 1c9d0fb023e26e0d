"""Finds what would go wrong before it does."""
