"""Records in, tables and figures out. Reads Parquet and checkpoints; knows nothing of Ray."""
