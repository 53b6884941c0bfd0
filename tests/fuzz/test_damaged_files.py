"""Damaged files: the right content, or one sentence that names the file; never anything else."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import re
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from damage import NAME, damaged, fingerprint, flipped, space_folder, sweep_folder
from descriptions import digit_description
from small_trials import changed, small_trial
from torch import nn

from fusion_search.analysis.confirmation import read_candidates
from fusion_search.analysis.records.selection import (
    AnalysisError,
    open_search,
    read_specification,
)
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import TABLES, read_batches, read_table
from fusion_search.analysis.records.torch_file import TorchFileError
from fusion_search.datasets.digits import mnist, spoken_digits
from fusion_search.datasets.digits.mnist import load_mnist, parse_idx
from fusion_search.datasets.digits.sound_files import SoundError, read_sound
from fusion_search.datasets.digits.spoken_digits import read_recordings
from fusion_search.datasets.errors import DataError
from fusion_search.models.early_fusion import EarlyFusionNetwork
from fusion_search.search.commands.command_line import main
from fusion_search.search.records.identity import kept_identity
from fusion_search.search.running import listed_trials
from fusion_search.search.tasks.base import TrialError
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.inspection.probe import trained_network
from fusion_search.search.trials.specification import TrialSpecification

COUNTS = [pytest.param(1, id="short"), pytest.param(25, id="long", marks=pytest.mark.slow)]
"""Times the cases of the short version."""


@pytest.fixture(params=[sweep_folder, space_folder], ids=["sweep", "space"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    make: Callable[[Path], Storage] = request.param
    return make(tmp_path)


def says(error: BaseException, words: str) -> None:
    """The error is one sentence with these words."""
    text = str(error)
    assert words in text
    assert len(text.splitlines()) == 1, text


def says_why(error: BaseException, path: Path) -> None:
    """The error names the file, or one below it, and what about it."""
    says(error, str(path))
    assert re.search(r"is damaged \(.+\)|cannot be used \(.+\)", str(error))


@pytest.mark.parametrize("times", COUNTS)
@pytest.mark.parametrize("table", sorted(TABLES))
def test_a_damaged_parquet_file_is_always_noticed(table: str, times: int, tmp_path: Path) -> None:
    storage = sweep_folder(tmp_path)
    (name, *_) = storage.names(table)
    content = storage.read(table, name)
    columns = [one for one in digit_description().schema(table).names if one != "schema_version"]

    def read_both() -> list[pd.DataFrame]:
        trial = [name.removesuffix(".parquet")]
        batches = pa.Table.from_batches(read_batches(storage, table, columns, trial))
        return [read_table(storage, table, trial), batches.to_pandas()]

    whole = read_both()
    chance = random.Random(1)
    bits = [flipped(content, chance.randrange(8 * len(content))) for _ in range(40 * times)]
    for copy in [*bits, *damaged(content, 40 * times, seed=2)]:
        Path(storage.path(table, name)).write_bytes(copy)
        try:
            again = read_both()
        except ValueError as error:
            says(error, f"{table}/{name} is damaged")
            continue
        # Only the checksum's own mark can be changed unnoticed: the content is what it was.
        for before, after in zip(whole, again, strict=True):
            pd.testing.assert_frame_equal(before, after)


@pytest.mark.parametrize("times", COUNTS)
def test_parquet_without_our_checksum_ends_in_rows_or_a_sentence(
    times: int, tmp_path: Path
) -> None:
    storage = sweep_folder(tmp_path)
    for table in TABLES:
        (name, *_) = storage.names(table)
        path = Path(storage.path(table, name))
        buffer = io.BytesIO()
        pq.write_table(read_parquet(path), buffer)
        for copy in damaged(buffer.getvalue(), 30 * times, seed=3):
            path.write_bytes(copy)
            try:
                read_table(storage, table, [name.removesuffix(".parquet")])
            except ValueError as error:
                says(error, f"{table}/{name}")


def read_parquet(path: Path) -> pa.Table:
    return pq.ParquetFile(path).read()


@pytest.mark.parametrize("times", COUNTS)
@pytest.mark.parametrize("name", ["specification.yaml", "planned.json", "driver.json", "task.json"])
def test_commands_on_a_damaged_folder(
    folder: Storage,
    name: str,
    times: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def would_run(*_: object) -> None:
        raise ValueError("there are trials to run")

    # Damage may turn a specification into that of another search: it must not train here.
    monkeypatch.setattr(listed_trials, "open_data", would_run)
    monkeypatch.setattr("fusion_search.search.running.space_search.open_data", would_run)
    content = folder.read(name)
    path = Path(folder.path(name))
    for number, copy in enumerate(damaged(content, 18 * times, seed=4)):
        path.write_bytes(copy)
        before = fingerprint(tmp_path)
        command = [["status"], ["status", NAME], ["resume", NAME]][number % 3]
        code = main([*command, "--storage", str(tmp_path)])
        error = capsys.readouterr().err
        assert code in (0, 1, 2, 130), error
        assert error.count("\n") == (code == 2), error
        assert not error or error.startswith("error: "), error
        after = fingerprint(tmp_path)
        if command[0] == "resume" and code != 2:
            # What is planned is written again from the specification.
            del before[f"{NAME}/planned.json"], after[f"{NAME}/planned.json"]
        if command[0] == "resume":  # which takes a dead driver's lease over, and gives it back
            for seen in (before, after):
                seen.pop(f"{NAME}/driver.json", None)
        if command[0] == "status" or name != "specification.yaml":
            assert after.keys() == before.keys()
        assert {one: after.get(one) for one in before} == before


@pytest.mark.parametrize("times", COUNTS)
def test_analysis_of_a_damaged_folder(times: int, tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path)
    readers: dict[str, Callable[[], Any]] = {
        "planned.json": lambda: open_search(open_storage(tmp_path), NAME),
        "candidates.json": lambda: read_candidates(folder),
        "specification.yaml": lambda: read_specification(open_search(open_storage(tmp_path), NAME)),
    }
    for name, read in readers.items():
        content = folder.read(name)
        for copy in damaged(content, 20 * times, seed=5):
            Path(folder.path(name)).write_bytes(copy)
            try:
                read()
            except AnalysisError as error:
                says(error, name)
        Path(folder.path(name)).write_bytes(content)


@pytest.mark.parametrize("times", COUNTS)
def test_a_damaged_identity_is_no_other_search(times: int, tmp_path: Path) -> None:
    folder = open_storage(tmp_path)
    (tmp_path / "specification.yaml").write_text("name: x")
    identity = kept_identity(folder).search_id
    content = folder.read("identity.json")
    for copy in damaged(content, 60 * times, seed=14):
        (tmp_path / "identity.json").write_bytes(copy)
        try:
            # It goes into MLflow's queries: nothing but such digits may come out.
            found = kept_identity(folder).search_id
        except ValueError as error:
            says(error, "identity.json is damaged")
        else:
            assert len(found) == len(identity)
            assert set(found) <= set("0123456789abcdef")


TINY = small_trial(levels=1, fusion_depth=1, units=2, dense_units=3)


def tiny_network(trial: TrialSpecification = TINY) -> nn.Module:
    torch.manual_seed(0)
    return EarlyFusionNetwork(trial.network.with_placement(trial.placement)).eval()


def saved(values: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


def checkpoint(network: nn.Module) -> dict[str, Any]:
    return {"specification": TINY.to_json(), "state": network.state_dict()}


@pytest.mark.parametrize("times", COUNTS)
def test_a_damaged_checkpoint_is_always_noticed(times: int, small_opened: OpenedTask) -> None:
    plain = tiny_network()
    content = saved(checkpoint(plain))
    images, sounds = torch.rand(2, 1, 28, 28), torch.rand(2, 5, 201)
    again = trained_network(TINY, small_opened, content)
    assert torch.equal(again(images, sounds), plain(images, sounds))
    for copy in damaged(content, 100 * times, seed=6):
        try:
            found = trained_network(TINY, small_opened, copy)
        except (TrialError, TorchFileError) as error:
            says(error, "")
            continue
        for name, tensor in found.state_dict().items():
            assert torch.equal(tensor, plain.state_dict()[name])


@pytest.mark.parametrize(
    "values",
    [
        [],
        {},
        {"state": {}},
        {"state": None},
        {"state": 5},
        checkpoint(tiny_network(changed(TINY, units=3))),
        checkpoint(tiny_network(changed(TINY, fusion_depth=0))),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(
    values: object, small_opened: OpenedTask
) -> None:
    with pytest.raises((TrialError, TorchFileError)) as caught:
        trained_network(TINY, small_opened, saved(values))
    says(caught.value, "")


@pytest.mark.parametrize("times", COUNTS)
def test_any_idx_header(times: int) -> None:
    """Also those that promise 2**31 images: nothing is allocated but what is there."""
    chance = random.Random(7)
    for _ in range(1000 * times):
        sizes = [chance.choice([0, 1, 2, 3, 28, 2**31, 2**32 - 1]) for _ in range(4)]
        dimensions = chance.choice([0, 1, 2, 3, 3, 4, 70, 255])
        head = bytes([0, 0, chance.choice([8, 8, 8, 13]), dimensions])
        body = struct.pack(">4I", *sizes)[: 4 * chance.randrange(5)] + bytes(chance.randrange(90))
        try:
            array = parse_idx(head + body, Path("some/file"))
        except DataError as error:
            says(error, "some/file cannot be used")
        else:
            assert array.size == len(body) - 4 * dimensions


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize("times", COUNTS)
def test_a_damaged_mnist_file_is_always_noticed(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(8)
    images = chance.integers(0, 256, (4, 28, 28), dtype=np.uint8)
    labels = np.arange(4, dtype=np.uint8)
    contents = {
        name: (
            b"\0\0\x08\x03" + struct.pack(">3I", 4, 28, 28) + images.tobytes()
            if "images" in name
            else b"\0\0\x08\x01" + struct.pack(">I", 4) + labels.tobytes()
        )
        for name in mnist._FILES
    }
    sums = {
        name: (1, hashlib.md5(one, usedforsecurity=False).hexdigest())
        for name, one in contents.items()
    }
    monkeypatch.setattr(mnist, "_FILES", sums)
    for name, one in contents.items():
        (tmp_path / name).write_bytes(packed(one))
    name = "t10k-images-idx3-ubyte.gz"
    copies = [
        *damaged(packed(contents[name]), 100 * times, seed=9),
        *map(packed, damaged(contents[name], 100 * times, seed=10)),
    ]
    for copy in copies:
        (tmp_path / name).write_bytes(copy)
        try:
            found, _, said = load_mnist(tmp_path)
        except DataError as error:
            says_why(error, tmp_path)
            continue
        finally:
            assert (tmp_path / name).read_bytes() == copy
        # What was changed before it was packed cannot be told from images of one's own.
        same = np.array_equal(found, np.concatenate([images, images]))
        assert said == "MNIST" if same else "NOT MNIST" in said


def wav(samples: int = 60) -> bytes:
    buffer = io.BytesIO()
    values = np.arange(samples, dtype=np.int16)
    soundfile.write(buffer, values, 8000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def unpacked_archive(form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name in ("fsdd/recordings/7_theo_3.wav", f"{'ä' * 90}/recordings/1_theo_1.wav"):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(wav()), 1.5  # type: ignore[assignment]
            archive.addfile(member, io.BytesIO(wav()))
    return buffer.getvalue()


def with_checksums(content: bytes) -> bytes:
    """The headers' own checksums made right again, so that what they say is believed."""
    copy = bytearray(content)
    for start in range(0, len(copy) - 511, 512):
        header = copy[start : start + 512]
        if header[257:262] == b"ustar":
            total = sum(header) - sum(header[148:156]) + 8 * 32
            copy[start + 148 : start + 156] = b"%06o\0 " % total
    return bytes(copy)


@pytest.mark.parametrize("times", COUNTS)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_damaged_archive(form: int, times: int, tmp_path: Path) -> None:
    content = unpacked_archive(form)
    path = tmp_path / "x.tar.gz"
    path.write_bytes(packed(content))
    whole = spoken_digits.content_digest(read_recordings(path)[0])
    copies = [
        *((copy, True) for copy in damaged(packed(content), 100 * times, seed=11)),
        *((packed(with_checksums(one)), False) for one in damaged(content, 200 * times, seed=12)),
    ]
    for copy, checked in copies:
        path.write_bytes(copy)
        try:
            found, said, _ = read_recordings(path)
        except DataError as error:
            says_why(error, path)
            continue
        assert "NOT Free Spoken Digit" in said
        # Inside the archive it is the digest over all recordings that tells.
        assert not checked or spoken_digits.content_digest(found) == whole


@pytest.mark.parametrize("times", COUNTS)
def test_a_damaged_sound_file(times: int) -> None:
    for copy in damaged(wav(), 400 * times, seed=13):
        try:
            samples = read_sound(copy).samples
        except SoundError as error:
            says(error, " ")
        else:
            # Of a byte a sample, at the lowest rate that is read.
            assert 0 < len(samples) <= 8 * len(copy)
