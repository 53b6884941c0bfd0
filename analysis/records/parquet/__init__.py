"""What a Parquet file of records may hold: its bytes, its size in memory, its values."""
