"""What is made of a table that nobody has described."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_tables import copied, read_csv, write_csv

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.tables.looking import look
from fusion_search.datasets.tables.measuring import input_of_arrays
from fusion_search.datasets.tables.sample import write_sample


def test_kinds_sizes_and_roles_are_seen(gestures: Path) -> None:
    found = look(gestures)
    kinds = {name: one.kind for name, one in found.inputs.items()}
    assert kinds == {
        "video": "clip",
        "photo": "image",
        "sound": "sound",
        "motion": "series",
        "spectrum": "vector",
        "numbers": "numbers",
    }
    assert (found.target, found.target_kind, found.group) == ("label", "class", "person")
    assert found.inputs["video"].length == 8
    assert found.inputs["video"].size == (24, 24)
    assert found.inputs["sound"].rate == 8000
    assert found.inputs["sound"].seconds == 0.5
    assert found.inputs["numbers"].columns == ("distance", "brightness")
    assert not found.broken
    assert not found.unused


def test_every_broken_cell_is_named_and_its_row_left_out(gestures: Path, tmp_path: Path) -> None:
    table = copied(gestures, tmp_path)
    rows = read_csv(table)
    (tmp_path / rows[0]["photo"]).write_bytes(b"no image")
    (tmp_path / rows[1]["sound"]).unlink()
    rows[2]["distance"] = "far"
    rows[3]["spectrum"] = "[1, 2"
    rows[4]["label"] = ""
    write_csv(table, rows)
    found = look(table)
    assert {(one.row, one.column) for one in found.broken} == {
        (2, "photo"),
        (3, "sound"),
        (4, "distance"),
        (5, "spectrum"),
        (6, "label"),
    }
    assert found.broken_rows == (2, 3, 4, 5, 6)
    assert all(one.reason for one in found.broken)


def test_what_is_no_input_says_why(tmp_path: Path) -> None:
    rows = [
        {
            "id": n,
            "nr": n + 7,
            "same": 1,
            "void": "",
            "words": f"word {n}",
            "x": n % 7,
            "split": "train",
            "y": n % 3,
        }
        for n in range(60)
    ]
    found = look(write_csv(tmp_path / "t.csv", rows))
    assert set(found.unused) == {"id", "nr", "same", "void", "words"}
    assert found.split_column == "split"
    assert found.inputs["numbers"].columns == ("x",)
    assert (found.target, found.target_kind) == ("y", "class")
    other = look(tmp_path / "t.csv", target="x", group="words")
    assert (other.target, other.group) == ("x", "words")


@pytest.mark.parametrize(("values", "kind"), [("0123", "class"), (np.arange(80) / 7, "number")])
def test_a_target_is_a_class_or_a_number(tmp_path: Path, values: object, kind: str) -> None:
    given = list(values)  # type: ignore[call-overload]
    rows = [{"x": n * n, "target": given[n % len(given)]} for n in range(80)]
    assert look(write_csv(tmp_path / "t.csv", rows)).target_kind == kind


def test_columns_of_parquet_that_cannot_be_read_are_left_out_with_a_reason(tmp_path: Path) -> None:
    table = pa.table(
        {
            "label": ["a", "b"] * 5,
            "clip": [np.zeros(30).tolist()] * 5 + [np.ones(40).tolist()] * 5,
            "blob": [{"bytes": b"x"}] * 10,
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    found = look(tmp_path / "t.parquet")
    assert found.inputs["clip"].kind == "series"
    assert found.inputs["clip"].length == 40
    assert "struct" in found.unused["blob"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3,4\n", "say what is to be predicted with --target COLUMN; it has 'a', 'b'"),
        ("label,b\nx,u\ny,v\n", "no column that could be an input: 'b' holds 2 different texts"),
        ("label,b\nx,u.png\ny,v.png\n", "column 'b': .*u.png is not there"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        look(tmp_path / "t.csv")


def test_no_example_is_written_over_other_files(gestures: Path) -> None:
    with pytest.raises(DataError, match="is not empty"):
        write_sample(gestures.parent)


def test_times_and_lists_of_words_are_no_inputs_and_stop_nothing(tmp_path: Path) -> None:
    day = datetime.datetime(2020, 1, 1)
    columns = {
        "label": ["a", "b"] * 5,
        "x": [float(n * n) for n in range(10)],
        "when": [day + datetime.timedelta(n) for n in range(10)],
        "day": [(day + datetime.timedelta(n)).date() for n in range(10)],
        "tags": [["u", "v"]] * 10,
        "ragged": [[[1.0, 2.0], [3.0]]] * 10,
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    found = look(tmp_path / "t.parquet")
    assert set(found.unused) == {"when", "day", "tags", "ragged"}
    assert set(found.inputs) == {"numbers"}


def test_an_empty_target_or_group_is_a_broken_cell(tmp_path: Path) -> None:
    columns = {
        "label": [float("nan"), *[0.0, 1.0] * 10],
        "x": [float(n * n) for n in range(21)],
        "person": [None, None, *["u", "v", "w"] * 6, "u"],
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    found = look(tmp_path / "t.parquet")
    assert [(one.row, one.column) for one in found.broken] == [
        (2, "label"),
        (2, "person"),
        (3, "person"),
    ]


def test_a_column_is_a_group_only_where_there_are_as_many_groups_as_splits(tmp_path: Path) -> None:
    rows = [{"x": n * n, "session": n % 2, "person": "u", "label": n % 2} for n in range(20)]
    table = write_csv(tmp_path / "t.csv", rows)
    found = look(table)
    assert (found.group, set(found.unused)) == ("", {"person"})
    assert found.inputs["numbers"].columns == ("x", "session")
    del rows[0]["person"]
    two = write_csv(
        tmp_path / "u.csv", [{**row, "person": "uv"[n % 2]} for n, row in enumerate(rows)]
    )
    assert "2 groups, too few" in look(two).unused["person"]
    assert look(two, group="person").group == "person"


def test_a_stream_is_called_by_no_name_that_torch_has_taken(tmp_path: Path) -> None:
    columns = {"label": ["a", "b"] * 5, "train": [[1.0, 2.0]] * 10, "x": [[3.0]] * 10}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert set(look(tmp_path / "t.parquet").inputs) == {"stream_train", "x"}


def test_texts_of_several_rows_each_are_offered_as_groups(tmp_path: Path) -> None:
    rows = [
        {"x": n * n, "the owner": f"o{n % 8}", "side": "lr"[n % 2], "note": f"n{n}", "y": n % 3}
        for n in range(80)
    ]
    table = write_csv(tmp_path / "t.csv", rows)
    hinted = {name for name, why in look(table).unused.items() if "--group" in why}
    assert hinted == {"the owner"}  # two cannot be kept whole in three splits
    assert look(table).unused["the owner"].endswith("add --group 'the owner'")
    assert "--group" not in look(table, group="note").unused["the owner"]


def test_numbers_with_a_decimal_comma_are_no_classes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x;size;y\n" + "".join(f"{n * n};{n},5;{n // 9},25\n" for n in range(60)))
    with pytest.raises(
        DataError, match=r"t.csv, column 'y' .* comma, such as '0,25'; save .*point"
    ):
        look(path, target="y")
    path.write_text(path.read_text().replace(",25\n", "\n"))
    found = look(path, target="y")
    assert found.target_kind == "class"
    assert "decimal comma, such as '0,5'" in found.unused["size"]


def test_arrays_of_three_equal_channels_are_grey() -> None:
    grey = np.repeat(np.arange(48, dtype=np.uint8).reshape(6, 8, 1), 3, axis=2)
    red = grey.copy()
    red[2, 3, 0] += 1
    for arrays, colour in (([grey, grey], False), ([grey, red], True), ([red[..., :1]], False)):
        found = input_of_arrays("photo", arrays)
        assert not isinstance(found, str)
        one, words = found
        assert (one.kind, one.size, one.colour) == ("image", (6, 8), colour)
        assert words.endswith("colour" if colour else "grey")
    # Channels in front are those of a photograph, whatever they hold.
    found = input_of_arrays("photo", [grey.transpose(2, 0, 1)])
    assert not isinstance(found, str)
    assert found[0].colour


@pytest.mark.parametrize(("long", "length"), [(0, 10), (1, 10), (3, 400)])
def test_series_are_as_long_as_ninety_nine_in_a_hundred(long: int, length: int) -> None:
    lengths = [400] * long + [10] * (200 - long)
    lengths[-1] = 9  # a series: of several lengths
    found = input_of_arrays("motion", [np.zeros((one, 2)) for one in lengths])
    assert not isinstance(found, str)
    assert (found[0].kind, found[0].length) == ("series", length)
    shorter = sum(one <= length for one in lengths)
    assert shorter / len(lengths) >= 0.99
