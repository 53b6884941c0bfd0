"""What sits between streams: MMTM, cross-connections, gates."""
