"""Weights from a file, such as those of a backbone that was trained on other data."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

_TIMES_ITS_SIZE: Final = 4  # float64 for bfloat16
_BESIDE: Final = 1 << 20  # bytes of names and shapes
_NAMED: Final = 5


class WeightsError(ValueError):
    """A file holds no weights for a module; the message is one sentence."""


def load_weights(module: nn.Module, path: str | Path, *, but: str | None = None) -> str:
    """Put the tensors of a state dictionary, as ``torch.save`` wrote it, into a module.

    Args:
        module: every tensor of it is to be in the file, and no other.
        path: the file. No code in it is run.
        but: how the names of what keeps its values begin, such as ``fc.``, the classifier's.

    Returns:
        SHA-256 of the file, hexadecimal; torchvision's files are named by its first digits.

    Raises:
        WeightsError: there is no such file, it is damaged or much larger than the module, or names
            or shapes are not those of the module.
    """
    path = Path(path)
    digest = weights_hash(path)
    own = module.state_dict()
    state = _read(path, sum(one.nbytes for one in own.values()))
    state = {name: one for name, one in state.items() if not _is_kept(name, but)}
    other = [
        f"{name} {list(one.shape)}, not {list(own[name].shape)}"
        for name, one in state.items()
        if name in own and one.shape != own[name].shape
    ]
    if other:
        raise WeightsError(f"{path} has other shapes than {_kind(module)}: {_few(other)}")
    # Not by comparing names: modules take older files, which lack what came later.
    missing, unexpected = module.load_state_dict(state, strict=False)
    missing = [name for name in missing if not _is_kept(name, but)]
    found = [f"it lacks {_few(missing)}"] if missing else []
    found += [f"{_kind(module)} has no {_few(unexpected)}"] if unexpected else []
    if found:
        raise WeightsError(
            f"{path} does not hold the weights of {_kind(module)}: {'; '.join(found)}"
        )
    return digest


def _is_kept(name: str, but: str | None) -> bool:
    return but is not None and name.startswith(but)


def weights_hash(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        there = Path(path).stat()
        return _hash(str(Path(path).resolve()), there.st_size, there.st_mtime_ns)
    except OSError as error:
        raise WeightsError(
            f"weights {path} cannot be read ({error.strerror or error}): name a file that "
            "torch.save wrote"
        ) from error


@lru_cache
def _hash(path: str, size: int, changed: int) -> str:
    # Asked for once per fold, of files of hundreds of megabytes.
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, size: int) -> Mapping[str, Tensor]:
    most = _TIMES_ITS_SIZE * size + _BESIDE
    try:
        total = path.stat().st_size
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                total = max(total, sum(one.file_size for one in archive.infolist()))
                # torch does not look at the checksums that it writes.
                if total <= most and archive.testzip() is not None:
                    raise WeightsError(f"{path} is damaged; put a whole copy in its place")
        if total > most:
            raise WeightsError(
                f"{path} holds {total:,} bytes, the module's weights take {size:,}; save its state "
                "dictionary alone"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # whatever a damaged file makes zipfile and torch raise
        raise WeightsError(
            f"{path} cannot be read as weights that torch.save wrote ({type(error).__name__}); "
            "save module.state_dict(), and nothing but tensors"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(one, Tensor) for one in state.values()):
        there = _few(state) if isinstance(state, Mapping) else f"a {type(state).__name__}"
        raise WeightsError(f"{path} is no state dictionary, tensors by name; it holds {there}")
    return state


def _kind(module: nn.Module) -> str:
    return type(module).__name__


def _few(names: Iterable[object]) -> str:
    listed = [str(one) for one in names]
    more = len(listed) - _NAMED
    return ", ".join(listed[:_NAMED]) + (f" and {more} more" if more > 0 else "")
