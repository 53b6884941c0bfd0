"""Files of tensors unpack to what they hold, or not at all."""

from __future__ import annotations

import io
import re
import resource
import struct
import zipfile

import pytest
import torch

from fusion_search.analysis.records.torch_file import TorchFileError, load_torch

ZEROS = 256 << 20


def saved(values: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


def packed(content: bytes, zeros: int) -> bytes:
    """The same file with its parts compressed and its tensors followed by so many zeros."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for one in old.infolist():
            with new.open(one.filename, "w") as part:
                part.write(old.read(one))
                for _ in range(zeros >> 20 if "/data/" in one.filename else 0):
                    part.write(bytes(1 << 20))
    return buffer.getvalue()


def lying(content: bytes) -> bytes:
    """With every part said to have one byte, in the directory and before the part itself."""
    copy = bytearray(content)
    for mark, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = copy.find(mark)
        while at >= 0:
            copy[at + place : at + place + 4] = struct.pack("<I", 1)
            at = copy.find(mark, at + 4)
    return bytes(copy)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@pytest.fixture(scope="module")
def bomb() -> bytes:
    content = packed(saved({"state": torch.arange(4.0)}), ZEROS)
    assert len(content) < ZEROS // 500
    return content


def test_values_and_tensors_come_back() -> None:
    found = load_torch(saved({"state": torch.arange(4.0), "epoch": 3}))
    assert found["epoch"] == 3
    assert torch.equal(found["state"], torch.arange(4.0))


def test_a_small_file_cannot_unpack_to_a_large_one(bomb: bytes) -> None:
    before = peak()
    for content in (bomb, lying(bomb), packed(saved([1]), 0)):
        with pytest.raises(TorchFileError, match="unpack to more than the file holds"):
            load_torch(content)
    assert peak() - before < ZEROS // 4


def two_directories(hidden: bytes) -> bytes:
    """A file whose directory zipfile looks for before its end, PyTorch where the end says."""
    end = hidden.rindex(b"PK\x05\x06")
    parts, size, start = struct.unpack("<HLL", hidden[end + 10 : end + 20])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(parts):
            archive.writestr(f"a/{number}", b"harmless")
    shown = buffer.getvalue()
    shown_start = shown.index(b"PK\x01\x02")
    directory = bytearray(shown[shown_start : shown.rindex(b"PK\x05\x06")])
    at = [one.start() for one in re.finditer(b"PK\x01\x02", directory)]
    for place in at:  # zipfile adds what lies between the directory and where the end says
        (offset,) = struct.unpack_from("<L", directory, place + 42)
        struct.pack_into("<L", directory, place + 42, offset + start - shown_start)
    padding = size - len(directory)
    struct.pack_into("<H", directory, at[-1] + 32, padding)  # a comment
    return hidden[:end] + shown[:shown_start] + directory + bytes(padding) + hidden[end:]


def test_pytorch_gets_no_other_parts_than_were_checked() -> None:
    content = two_directories(packed(saved({"state": torch.zeros(1 << 20)}), 0))
    assert len(content) < 1 << 16
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {archive.read(one) for one in archive.namelist()} == {b"harmless"}
    unpacked = torch.load(io.BytesIO(content), weights_only=True)  # what it finds by itself
    assert len(unpacked["state"]) == 1 << 20
    with pytest.raises(TorchFileError):
        load_torch(content)


@pytest.mark.slow
def test_more_parts_than_a_plain_archive_can_have() -> None:
    content = saved({number: torch.zeros(1) for number in range(70_000)})
    assert content[-22:].startswith(b"PK\x05\x06\0\0\0\0\xff\xff")  # their number is elsewhere
    assert len(load_torch(content)) == 70_000


def test_parts_that_lie_on_top_of_each_other_count_each() -> None:
    """Many names of one part: a file that is large many times."""
    content = saved({"state": torch.zeros(4000)})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        (large,) = [one for one in archive.infolist() if one.file_size == 16000]
        for number in range(3):
            again = zipfile.ZipInfo(f"{names[0]}/{number}")
            again.file_size = again.compress_size = large.file_size
            again.header_offset, again.CRC = large.header_offset, large.CRC
            archive.filelist.append(again)
        archive.comment = b"x"  # or the directory would not be written again
    with pytest.raises(TorchFileError, match="unpack to more than the file holds"):
        load_torch(buffer.getvalue())
