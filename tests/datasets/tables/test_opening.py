"""Tables opened: splits, what is standardised, and errors that name row and column."""

from __future__ import annotations

import json
import math
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_tables import GESTURES, copied, read_csv, write_csv

from fusion_search.datasets.batch import SPLITS, Data, Part
from fusion_search.datasets.errors import DataError
from fusion_search.datasets.loading import Presentation, load
from fusion_search.datasets.tables.examples import TableExamples
from fusion_search.datasets.tables.opening import open_table, other_examples
from fusion_search.datasets.tables.settings import Input, TableData
from fusion_search.search.trials.fields import typed
from fusion_search.search.trials.plain import plain_settings

NUMBERS = TableData(
    table="t.csv", target="y", inputs={"a": Input(kind="numbers", columns=("a", "b"))}
)


def examples_of(data: Data) -> TableExamples:
    assert isinstance(data.train, Part)
    assert isinstance(data.train.dataset, TableExamples)
    return data.train.dataset


def numbers_table(folder: Path, count: int = 40) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        {"a": 5 + rng.normal(), "b": 3, "y": "uv"[n % 2], "who": n // 4, "part": "train"}
        for n in range(count)
    ]
    for n, row in enumerate(rows):
        row["part"] = ("train", "train", "validation", "test")[n // 4 % 4]
    return write_csv(folder / "t.csv", rows)


def test_every_kind_of_file_becomes_what_its_stream_takes(gestures: Path) -> None:
    data = open_table(GESTURES, gestures.parent)
    batch, _ = next(load(data.train, [[Presentation(n, n) for n in range(3)]], seed=0))
    shapes = {
        name: tuple((one["values"] if isinstance(one, dict) else one).shape)
        for name, one in batch.inputs.items()
    }
    assert shapes == {
        "video": (3, 1, 4, 12, 12),
        "photo": (3, 3, 16, 16),
        "sound": (3, 1, 1600),
        "motion": (3, 3, 25),
        "spectrum": (3, 6),
        "numbers": (3, 2),
    }
    assert data.labels == ("circle", "push", "wave")
    assert data.classes == 3
    assert [axis.name for axis in data.axes or ()] == [f"{name}_snr" for name in GESTURES.inputs]


@pytest.mark.parametrize("settings", [GESTURES, replace(GESTURES, folds=0)])
def test_no_split_cuts_a_group(gestures: Path, settings: TableData) -> None:
    data = open_table(settings, gestures.parent)
    people = [{row["person"] for row in read_csv(gestures)}]
    found = []
    for name in SPLITS:
        part = data.split(name)
        assert isinstance(part, Part)
        groups = examples_of(data).groups
        assert groups is not None
        found.append({groups[number] for number in part.numbers.tolist()})
    assert set.union(*found) == people[0]
    assert sum(map(len, found)) == len(people[0])


def test_a_split_column_is_followed_and_may_not_cut_a_group(tmp_path: Path) -> None:
    path = numbers_table(tmp_path)
    settings = replace(NUMBERS, split_column="part", group="who")
    data = open_table(settings, tmp_path)
    assert len(data.test) == 8
    assert len(data.validation) == 8
    rows = read_csv(path)
    rows[1]["part"] = "test"
    write_csv(path, rows)
    with pytest.raises(DataError, match=r"'0' is in train \(row 2\) and in test \(row 3\)"):
        open_table(settings, tmp_path)


def test_numbers_and_targets_are_standardised_by_the_train_split_alone(tmp_path: Path) -> None:
    rows = read_csv(numbers_table(tmp_path))
    rng = np.random.default_rng(1)
    for row in rows:
        row["y"] = str(10 + 3 * rng.normal())
    write_csv(tmp_path / "t.csv", rows)
    data = open_table(replace(NUMBERS, target_kind="number"), tmp_path)
    assert isinstance(data.train, Part)
    train = data.train.numbers.tolist()
    values = torch.stack([data.train[n][0]["a"] for n in range(len(data.train))])
    raw = np.array([float(rows[n]["a"]) for n in train])
    np.testing.assert_allclose(values[:, 0], (raw - raw.mean()) / raw.std(), atol=1e-5)
    assert not values[:, 1].any()  # a column that does not vary
    scale = examples_of(data).target_scale
    assert scale is not None
    targets = np.array([float(rows[n]["y"]) for n in train])
    assert float(scale.deviation) == pytest.approx(targets.std(), rel=1e-5)


def test_another_table_is_read_to_the_scale_and_classes_of_the_first(tmp_path: Path) -> None:
    numbers_table(tmp_path)
    first = open_table(replace(NUMBERS, group="who"), tmp_path)
    known, scale = examples_of(first), examples_of(first).scales["a"]
    rows = [{"b": "7", "a": "1", "y": "v"}, {"b": "3", "a": "2", "y": "u"}]
    found = other_examples(write_csv(tmp_path / "new.csv", rows), known, first.labels)
    assert [int(found[n][1]) for n in range(2)] == [1, 0]
    expected = (torch.tensor([[1.0, 7.0], [2.0, 3.0]]) - scale.mean) / scale.deviation
    torch.testing.assert_close(torch.stack([found[n][0]["a"] for n in range(2)]), expected.float())
    assert found.groups is None  # this one has no column of them
    write_csv(tmp_path / "new.csv", [*rows, {"b": "1", "a": "1", "y": "w"}])
    with pytest.raises(DataError, match=r"new.csv, row 4, column 'y': class 'w' is none .*: u, v"):
        other_examples(tmp_path / "new.csv", known, first.labels)


def test_padding_stays_zero_where_values_are_standardised(gestures: Path) -> None:
    data = open_table(GESTURES, gestures.parent)
    examples = examples_of(data)
    one = examples.input("motion", 0)
    assert isinstance(one, dict)
    length = int(one["lengths"])
    rows = np.load(gestures.parent / read_csv(gestures)[0]["motion"])
    assert length == min(len(rows), 25)
    assert not one["values"][:, length:].any()
    scale = examples.scales["motion"]
    expected = (rows[:length] - scale.mean.numpy()) / scale.deviation.numpy()
    np.testing.assert_allclose(one["values"][:, :length].T, expected, atol=1e-5)


def test_missing_files_are_counted_and_the_first_is_named(gestures: Path, tmp_path: Path) -> None:
    table = copied(gestures, tmp_path)
    rows = read_csv(table)
    for number in (3, 7):
        (tmp_path / rows[number]["sound"]).unlink()
    rows[5]["photo"] = ""
    write_csv(table, rows)
    with pytest.raises(DataError, match=r"row 7, column 'photo': is empty \(and so for 2 other"):
        open_table(GESTURES, tmp_path)
    rows[5]["photo"] = rows[4]["photo"]
    write_csv(table, rows)
    with pytest.raises(DataError, match=r"row 5, column 'sound': 'sounds/.*' is not there"):
        open_table(GESTURES, tmp_path)
    data = open_table(replace(GESTURES, leave_out=(5, 9)), tmp_path)
    assert "2 rows left out" in data.note
    assert sum(len(data.split(name)) for name in SPLITS) == 46  # type: ignore[arg-type]


def test_a_broken_file_is_named_when_it_is_read(gestures: Path, tmp_path: Path) -> None:
    table = copied(gestures, tmp_path)
    name = read_csv(table)[2]["photo"]
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataError, match=f"gestures.csv, row 4, column 'photo': '{name}' is no"):
        examples_of(open_table(GESTURES, tmp_path)).input("photo", 2)


def test_fifty_thousand_rows_open_in_seconds(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    rows = [
        {"a": n % 97, "b": n % 89, "sound": "a.wav", "y": n % 10, "who": n % 500}
        for n in range(50_000)
    ]
    write_csv(tmp_path / "t.csv", rows)
    sound = Input(kind="sound", column="sound", seconds=1.0)
    settings = replace(NUMBERS, group="who", inputs={**NUMBERS.inputs, "sound": sound})
    begun = time.process_time()
    data = open_table(settings, tmp_path)
    # Of a processor: one alone, almost twice that where another program has its other half.
    assert time.process_time() - begun < 3.0
    assert len(data.train) > 30_000  # type: ignore[arg-type]


def test_other_content_or_files_have_another_fingerprint(gestures: Path, tmp_path: Path) -> None:
    table = copied(gestures, tmp_path)
    first = open_table(GESTURES, tmp_path).fingerprint
    assert open_table(GESTURES, tmp_path).fingerprint == first
    assert open_table(replace(GESTURES, split_seed=1), tmp_path).fingerprint != first
    name = read_csv(table)[0]["motion"]
    np.save(tmp_path / name, np.zeros((9, 3), np.float32))
    assert open_table(GESTURES, tmp_path).fingerprint != first


def test_splits_of_the_same_rows_are_known_whatever_is_read_of_them(
    gestures: Path, tmp_path: Path
) -> None:
    table = copied(gestures, tmp_path)
    fewer = dict(list(GESTURES.inputs.items())[:1])
    settings = [
        *(GESTURES, replace(GESTURES, inputs=fewer)),
        replace(GESTURES, split_seed=1),
        replace(GESTURES, leave_out=(3,)),
    ]
    first, same, *others = (open_table(one, tmp_path).split_fingerprint for one in settings)
    assert len(first) == 16
    assert same == first
    table.write_text(table.read_text() + "\n")
    others.append(open_table(GESTURES, tmp_path).split_fingerprint)
    assert first not in others


def test_settings_read_from_a_record_open_the_same_data(gestures: Path) -> None:
    # Records hold settings as JSON with sorted names.
    plain = json.loads(json.dumps(plain_settings(GESTURES), sort_keys=True))
    again = typed(TableData, plain, "data.")
    assert again == GESTURES
    first, second = (open_table(one, gestures.parent) for one in (GESTURES, again))
    assert first.fingerprint == second.fingerprint
    assert first.axes is not None
    assert second.axes is not None
    assert [one.name for one in first.axes] == [one.name for one in second.axes]


def test_examples_travel_to_workers_without_what_was_decoded(gestures: Path) -> None:
    examples = examples_of(open_table(GESTURES, gestures.parent))
    before = len(pickle.dumps(examples))
    expected = examples.input("photo", 1)
    copy = pickle.loads(pickle.dumps(examples))
    assert len(pickle.dumps(examples)) == before < 200_000
    assert torch.equal(copy.input("photo", 1), expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": {}}, "at least one stream"),
        ({"test_snrs": (1.0, 1.0)}, "test_snrs holds 1.0 twice; keep one"),
        ({"test_snrs": ("original", math.inf)}, "test_snrs holds original twice; keep one"),
        ({"leave_out": (7, 7)}, "leave_out holds 7 twice; keep one"),
        ({"test_snrs": (0.0,)}, "above 0"),
        ({"fractions": (0.5, 0.5, 0.5)}, "add up to 1"),
        ({"folds": 1}, "2 to 100"),
        ({"folds": 3, "split_column": "s"}, "keep one"),
        ({"target": "a"}, "column 'a' is an input"),
        ({"inputs": {f"s{n}": Input(kind="vector", column=f"c{n}") for n in range(6)},
          "test_snrs": (1.0, 2.0, 3.0, 4.0)}, "10,240 conditions"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(NUMBERS, **changes)  # type: ignore[arg-type]


def test_weights_of_a_backbone_are_named() -> None:
    with pytest.raises(ValueError, match="weights of encoder resnet18 are not named; allowed: def"):
        Input(kind="image", column="photo", encoder="resnet18")
    assert Input(kind="image", column="photo", encoder="resnet18", weights="random").weights


def test_the_grid_is_as_fine_as_the_number_of_streams_allows() -> None:
    def snrs(count: int) -> int:
        inputs = {f"s{n}": Input(kind="vector", column=f"c{n}") for n in range(count)}
        return len(TableData(table="t", target="y", inputs=inputs).snrs)

    # k ** n + n * k ** (n - 1) conditions: 24, 112, 189, 112, 256.
    assert [snrs(count) for count in (2, 3, 4, 5, 6, 7)] == [4, 4, 3, 2, 2, 1]


def test_numbers_keep_the_digits_in_which_they_differ(tmp_path: Path) -> None:
    rows = [{"a": 1_700_000_000 + n, "y": "uv"[n % 2]} for n in range(40)]
    write_csv(tmp_path / "t.csv", rows)
    inputs = {"a": Input(kind="numbers", columns=("a",))}
    data = open_table(replace(NUMBERS, inputs=inputs), tmp_path)
    given = torch.stack([data.train[n][0]["a"] for n in range(len(data.train))])[:, 0]
    assert isinstance(data.train, Part)
    raw = data.train.numbers.double()
    expected = (raw - raw.mean()) / raw.std(correction=0)
    torch.testing.assert_close(given, expected.float())


def test_a_table_of_which_all_is_left_out_is_refused(tmp_path: Path) -> None:
    numbers_table(tmp_path)
    with pytest.raises(DataError, match="no example but those that leave_out names"):
        open_table(replace(NUMBERS, leave_out=tuple(range(2, 42))), tmp_path)


def test_a_word_that_is_no_split_is_named_by_row_and_column(tmp_path: Path) -> None:
    rows = read_csv(numbers_table(tmp_path))
    rows[3]["part"] = "Train"
    write_csv(tmp_path / "t.csv", rows)
    with pytest.raises(DataError, match=r"row 5, column 'part' is 'Train'; allowed: train"):
        open_table(replace(NUMBERS, split_column="part"), tmp_path)


def test_a_folder_that_a_cell_names_is_refused_on_opening(gestures: Path, tmp_path: Path) -> None:
    table = copied(gestures, tmp_path)
    photo = tmp_path / read_csv(table)[0]["photo"]
    photo.unlink()
    photo.mkdir()
    with pytest.raises(DataError, match=r"row 2, column 'photo': .* is a folder"):
        open_table(GESTURES, tmp_path)


def test_arrays_of_another_width_are_named_by_row_when_opened_or_put_together(
    tmp_path: Path,
) -> None:
    rows = []
    for number in range(20):
        np.save(tmp_path / f"{number}.npy", np.zeros((5, 2), np.float32))
        rows.append({"file": f"{number}.npy", "y": "uv"[number % 2]})
    table = write_csv(tmp_path / "t.csv", rows)
    settings = TableData(
        table=table.name,
        target="y",
        inputs={"a": Input(kind="series", column="file", length=5)},
    )
    examples = examples_of(open_table(settings, tmp_path))
    item = examples[0]
    other = ({"a": {**item[0]["a"], "values": torch.zeros(3, 5)}}, item[1])
    message = r"t\.csv: column 'file' holds arrays of shapes \[2, 5\] and \[3, 5\]; .* one shape"
    with pytest.raises(DataError, match=message):
        examples.collate([item, other])
    for number in range(1, 20, 2):
        np.save(tmp_path / f"{number}.npy", np.zeros((5, 3), np.float32))
    message = r"row \d+, column 'file'.* holds [23] values, row \d+ [23]; they are to be as many"
    with pytest.raises(DataError, match=message):
        open_table(settings, tmp_path)
