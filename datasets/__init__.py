"""Examples in, tensors out. Knows torch, torchaudio and NumPy."""

from fusion_search.datasets.errors import DataError

__all__ = ["DataError"]
