"""A search from Python: launched, its records as tables, a trained network back."""
