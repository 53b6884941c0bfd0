"""A search as declared in YAML."""
