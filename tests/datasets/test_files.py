"""Reading, damage, and downloads from a server in this process."""

from __future__ import annotations

import gzip
import os
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from fusion_search.datasets.digits.data import DigitsSettings, load_digits
from fusion_search.datasets.digits.download import fetch
from fusion_search.datasets.digits.mnist import FILES, load_mnist, parse_idx
from fusion_search.datasets.digits.spoken_digits import load_spoken_digits
from fusion_search.datasets.errors import DataError
from fusion_search.datasets.files import DataFile, data_folder, read_packed
from fusion_search.search.commands.command_line import main, parser
from fusion_search.search.commands.options import data_of

CONTENT = bytes(range(256)) * 2000


def test_idx_is_read_as_its_header_says() -> None:
    values = np.arange(24, dtype=np.uint8)
    content = b"\0\0\x08\x03" + struct.pack(">3I", 2, 3, 4) + values.tobytes()
    assert np.array_equal(parse_idx(content, Path("x")), values.reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x0d\x01" + struct.pack(">I", 1) + b"\0", "not an IDX file of bytes"),
        (b"\0\0\x08\x03\0\0", "header is cut short"),
        (b"\0\0\x08\x01" + struct.pack(">I", 5) + b"\0\0", "5 values promised, 2 found"),
    ],
)
def test_a_damaged_idx_file_is_named(content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=rf"some/file cannot be used .*{reason}.*fetch digits"):
        parse_idx(content, Path("some/file"))


def test_missing_mnist_names_file_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is missing .*fetch digits"):
        load_mnist(tmp_path)
    with pytest.raises(DataError, match=r"1\.0\.9\.tar\.gz is missing"):
        load_spoken_digits(tmp_path)


# The same on every worker of pytest, since it is part of the tests' names.
PACKED = gzip.compress(CONTENT, mtime=0)
FLIPPED = bytes(byte ^ (number == 1000) for number, byte in enumerate(PACKED))


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (PACKED[:-200], "is damaged"),
        (PACKED[:-4], "is damaged"),  # inside its checksums
        (FLIPPED, "is damaged"),
        (PACKED + PACKED[:-4], "is damaged"),
        (b"", "(cannot be used|is damaged)"),
        (b"no gzip", "(cannot be used|is damaged)"),
        (PACKED, "(cannot be used|is damaged)"),  # whole, and something else
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_not_to_be_deleted(
    tmp_path: Path, content: bytes, state: str
) -> None:
    (tmp_path / "mnist").mkdir()
    name, archive = "train-images-idx3-ubyte.gz", "free-spoken-digit-dataset-1.0.9.tar.gz"
    for file in FILES:
        (tmp_path / "mnist" / file.name).write_bytes(content)
    (tmp_path / archive).write_bytes(content)
    loads: dict[str, Callable[[Path], object]] = {name: load_mnist, archive: load_spoken_digits}
    for file_name, load in loads.items():
        with pytest.raises(DataError, match=rf"{file_name} {state} .*move it away") as caught:
            load(tmp_path)
        assert "delete" not in str(caught.value)


@pytest.mark.parametrize("most", [len(CONTENT), 2 * len(CONTENT) + 1])
def test_what_follows_the_gzip_content_is_left_out(tmp_path: Path, most: int) -> None:
    """As gzip does itself, with a warning; the content before it has passed its checksum."""
    path, packed = tmp_path / "x.gz", PACKED
    empty = gzip.compress(b"")
    for behind in (b"", b"\n", b"<!-- a server's word -->", bytes(70_000), b"\x1f"):
        path.write_bytes(packed + empty + behind)
        assert read_packed(path, most) == (CONTENT, len(behind))
    path.write_bytes(packed + packed + b"x")
    if most < 2 * len(CONTENT):
        with pytest.raises(DataError, match=f"its content is larger than {most:,} bytes"):
            read_packed(path, most)
    else:
        assert read_packed(path, most) == (2 * CONTENT, 1)
    path.write_bytes(CONTENT)  # not packed at all
    assert read_packed(path, most) == (CONTENT, 0)


class Server(ThreadingHTTPServer):
    """Serves CONTENT, after the answers listed in ``troubles``: a status, or "cut"."""

    troubles: list[int | str]
    ranges: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        trouble = self.server.troubles.pop(0) if self.server.troubles else None
        if isinstance(trouble, int):
            self.send_error(trouble)
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        stop = (start + len(CONTENT)) // 2 if trouble == "cut" else len(CONTENT)
        self.wfile.write(CONTENT[start:stop])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.troubles, running.ranges = [], []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def file_of(server: Server, expected: bytes = CONTENT) -> DataFile:
    def describe(path: Path) -> tuple[str, int]:
        return "it" if path.read_bytes() == expected else "another", 0

    return DataFile(
        name="data.bin",
        folder="things",
        other_folders=("",),
        url=f"http://127.0.0.1:{server.server_address[1]}/data.bin",
        size=len(expected),
        describe=describe,
        expected="it",
    )


def test_a_file_is_downloaded_once(tmp_path: Path, server: Server) -> None:
    file = file_of(server)
    assert fetch(file, tmp_path, waits=[])
    assert (tmp_path / "things" / "data.bin").read_bytes() == CONTENT
    assert not fetch(file, tmp_path, waits=[])
    assert len(server.ranges) == 1


def test_a_cut_download_goes_on_where_it_stopped(tmp_path: Path, server: Server) -> None:
    server.troubles = ["cut", 503]
    assert fetch(file_of(server), tmp_path, waits=[0, 0])
    half = f"bytes={len(CONTENT) // 2}-"
    assert server.ranges == [None, half, half]
    assert (tmp_path / "things" / "data.bin").read_bytes() == CONTENT
    assert sorted(one.name for one in (tmp_path / "things").iterdir()) == ["data.bin"]


def test_a_part_left_by_an_earlier_run_is_used(tmp_path: Path, server: Server) -> None:
    part = tmp_path / "things" / "data.bin.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT[:1000])
    assert fetch(file_of(server), tmp_path, waits=[])
    assert server.ranges == ["bytes=1000-"]
    part.write_bytes(CONTENT)
    (tmp_path / "things" / "data.bin").unlink()
    assert fetch(file_of(server), tmp_path, waits=[])


def test_trouble_that_stays_ends_in_one_sentence(tmp_path: Path, server: Server) -> None:
    server.troubles = [503, 503, 503]
    with pytest.raises(DataError, match=r"cannot be downloaded .*503.*or put the file at"):
        fetch(file_of(server), tmp_path, waits=[0, 0])
    assert len(server.ranges) == 3
    server.troubles = [404]
    with pytest.raises(DataError, match="404"):
        fetch(file_of(server), tmp_path, waits=[0, 0])
    assert len(server.ranges) == 4


def test_another_file_than_expected_does_not_count(tmp_path: Path, server: Server) -> None:
    with pytest.raises(DataError, match="is not the expected file"):
        fetch(file_of(server, b"other"), tmp_path, waits=[])
    assert list((tmp_path / "things").iterdir()) == []


def test_the_folder_is_the_option_then_the_environment_then_the_cache() -> None:
    environ = {"FUSION_SEARCH_DATA": "/there", "XDG_CACHE_HOME": "/cache"}
    assert data_folder("/here", environ) == Path("/here")
    assert data_folder(None, environ) == Path("/there")
    assert data_folder(None, {"XDG_CACHE_HOME": "/cache"}) == Path("/cache/fusion-search")


def test_built_in_data_need_no_folder_and_real_data_say_what_to_set(
    homeless: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "NOT MNIST" in load_digits(DigitsSettings(source="builtin", frames=24)).note
    remedy = r"^the home folder in '~/.cache/fusion-search'.*--data .*FUSION_SEARCH_DATA$"
    with pytest.raises(DataError, match=remedy):
        load_digits(DigitsSettings())
    with pytest.raises(DataError, match="home folder in '~nobody-of-that-name/x'"):
        load_digits(DigitsSettings(), Path("~nobody-of-that-name/x"))
    assert data_of(parser().parse_args(["draw", "noise"])) is None
    assert main(["data", "check", "digits"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_check_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8bbroken")
    assert main(["data", "check", "digits", "--folder", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out.count("missing  ") == 4
    assert "unusable train-labels-idx1-ubyte.gz" in printed.out
    assert printed.err.count("\n") == 1
    assert "fetch digits" in printed.err


@pytest.mark.real_data
@pytest.mark.skipif("FUSION_SEARCH_DATA" not in os.environ, reason="FUSION_SEARCH_DATA is not set")
def test_check_and_fetch_accept_the_real_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "digits"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("present  ") == 5
    assert "11,202,076" in printed
    assert main(["data", "fetch", "digits"]) == 0
    assert capsys.readouterr().out.count("there already, verified") == 5


HINDERED = {
    "rgbd": ("rgbd-folders", "a folder"),
    "washington": ("washington", "the folder FOLDER/washington/rgbd-dataset"),
    "washington/rgbd-dataset": ("washington", "a folder"),
    "avletters": ("avletters", "the folder FOLDER/avletters/Lips"),
    "avletters/Lips": ("avletters", "a folder"),
    "clips": ("clips", "a folder"),
    "clips/MFCCs": ("clips", "a folder"),
    "mnist": ("digits", "a folder"),
    "": ("rgbd-folders", "the folder FOLDER/rgbd"),
}


@pytest.mark.parametrize("place", HINDERED)
def test_a_file_where_a_folder_is_expected_is_named(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check, expected = HINDERED[place]
    folder = tmp_path / "data"
    file = folder / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("a file")
    assert main(["data", "check", check, "--folder", str(folder)]) == 2
    told = capsys.readouterr()
    expected = expected.replace("FOLDER", str(folder))
    words = f"{file} is a file, where {expected} is expected: move it away"
    assert words in (told.out if check == "digits" else told.err)
    assert "Traceback" not in told.err


def test_a_download_goes_into_no_file_and_over_no_folder(tmp_path: Path) -> None:
    (tmp_path / "mnist").touch()
    with pytest.raises(DataError, match=r"mnist is a file, where a folder is expected: move it"):
        fetch(FILES[0], tmp_path)
    (tmp_path / "other/mnist" / FILES[0].name).mkdir(parents=True)
    with pytest.raises(DataError, match=r"\.gz is a folder, where a file is expected: move it"):
        fetch(FILES[0], tmp_path / "other")
