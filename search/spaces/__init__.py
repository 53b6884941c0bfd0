"""What may be tried, and who proposes it."""
