"""Files that PyTorch wrote, checked before it unpacks them."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import torch


class TorchFileError(ValueError):
    """A file is not as PyTorch wrote it; the message says what about it, in a few words."""


def load_torch(content: bytes) -> Any:
    """Plain values and tensors, on the CPU, from the content of a file that ``torch.save`` wrote.

    Raises:
        TorchFileError: it is something else, is damaged, or would unpack to more than it is.
    """
    try:
        return torch.load(_repacked(content), map_location="cpu", weights_only=True)
    except TorchFileError:
        raise
    except Exception as error:  # whatever a damaged file makes zipfile and torch raise
        raise TorchFileError(type(error).__name__) from error


def _repacked(content: bytes) -> io.BytesIO:
    """The checked parts in a new archive.

    An archive may have two directories, of which zipfile finds one and PyTorch the other: PyTorch
    gets none but what was looked at here.
    """
    repacked = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as archive,
        zipfile.ZipFile(repacked, "w") as checked,
    ):
        parts = archive.infolist()
        # PyTorch stores without compression: what claims to be larger is none of its files. What
        # claims less than it has fails its checksum, which PyTorch writes and does not look at.
        if any(one.compress_type != zipfile.ZIP_STORED for one in parts) or (
            sum(one.file_size for one in parts) > len(content)
        ):
            raise TorchFileError("its parts unpack to more than the file holds")
        for one in parts:
            try:
                checked.writestr(one.filename, archive.read(one))
            except zipfile.BadZipFile as error:
                raise TorchFileError("a part is not as it was written") from error
    repacked.seek(0)
    return repacked
