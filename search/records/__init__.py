"""What is kept of a search, and where a record comes from."""
