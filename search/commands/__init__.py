"""The command line, ``fusion-search VERB``."""
