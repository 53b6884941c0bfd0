"""What a search keeps, and what reads it: storage, tables, samples."""
