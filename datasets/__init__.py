"""Examples in, tensors out. Knows torch, torchaudio and NumPy."""

from datasets.errors import DataError

__all__ = ["DataError"]
