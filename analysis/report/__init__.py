"""One HTML page on a search."""
