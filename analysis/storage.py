"""Files in a local folder or at any URI that pyarrow's filesystems open, written whole."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs


@dataclass(frozen=True)
class Storage:
    """One folder, local or remote; ``location`` is what the user wrote."""

    location: str
    filesystem: fs.FileSystem
    root: str

    def path(self, *parts: str) -> str:
        """The filesystem's own path of a file below this folder."""
        return "/".join([self.root.rstrip("/"), *parts])

    def below(self, *parts: str) -> Storage:
        """The folder at ``parts`` below this one."""
        return Storage(
            "/".join([self.location.rstrip("/"), *parts]), self.filesystem, self.path(*parts)
        )

    def exists(self, *parts: str) -> bool:
        """Whether a file or folder is there."""
        return bool(self.filesystem.get_file_info(self.path(*parts)).type != fs.FileType.NotFound)

    def names(self, *parts: str) -> list[str]:
        """Names of the files and folders directly below, sorted; none when the folder is missing.

        A half-written file (its name starts with a dot) does not count.
        """
        selector = fs.FileSelector(self.path(*parts), allow_not_found=True)
        entries = self.filesystem.get_file_info(selector)
        return sorted(entry.base_name for entry in entries if not entry.base_name.startswith("."))

    def read(self, *parts: str) -> bytes:
        """The content of a file. Raises ``FileNotFoundError``."""
        with self.filesystem.open_input_stream(self.path(*parts)) as stream:
            return bytes(stream.read())

    def write(self, content: bytes, *parts: str) -> None:
        """Write a file whole: a reader sees the old content or the new, never a part."""
        target = self.path(*parts)
        folder, _, name = target.rpartition("/")
        self.filesystem.create_dir(folder, recursive=True)
        temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"
        try:
            with self.filesystem.open_output_stream(temporary) as stream:
                stream.write(content)
            self.filesystem.move(temporary, target)
        except BaseException:
            # An interrupt too must leave no half-written file behind.
            with contextlib.suppress(OSError):
                self.filesystem.delete_file(temporary)
            raise

    def remove(self, *parts: str) -> None:
        """Delete a file if it is there."""
        if self.exists(*parts):
            self.filesystem.delete_file(self.path(*parts))


def open_storage(location: str | Path) -> Storage:
    """Open a folder: a local path, or a URI such as ``s3://bucket/results``.

    Raises:
        ValueError: pyarrow has no filesystem for the URI.
    """
    text = str(location)
    if "://" not in text:
        return Storage(text, fs.LocalFileSystem(), Path(text).expanduser().absolute().as_posix())
    try:
        filesystem, root = fs.FileSystem.from_uri(text)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"storage {text!r} cannot be opened by pyarrow: {error}") from error
    return Storage(text, filesystem, root)
