"""XFlow: a stream of maps and a stream of vectors with cross-connections in both directions."""
