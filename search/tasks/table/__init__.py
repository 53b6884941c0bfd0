"""The task of a table of examples."""
