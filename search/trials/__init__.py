"""One trial: what it is, how it trains, is tested and packed. No Ray."""
