"""A search under way. No Ray."""
