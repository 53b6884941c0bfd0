"""What is drawn, each figure from tables that are computed beside it."""
