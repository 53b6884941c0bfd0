"""Verbs that draw, write and probe: what looks at a search."""
