"""Tables of examples: one row an example, with columns of numbers, arrays and file names."""
