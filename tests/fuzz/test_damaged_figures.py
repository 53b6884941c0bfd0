"""Figures over folds and of probes from damaged records: drawn, or one sentence each."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from flips import damaged
from xflow_records import write_probe, write_variant

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.commands.command_line import main
from fusion_search.search.commands.figures import folds, probed
from fusion_search.search.commands.figures.drawing_options import say_damage

COUNTS = [pytest.param(1, id="short"), pytest.param(25, id="long", marks=pytest.mark.slow)]
FIGURES = {
    "trials": ("folds", "xflow", "learning", "maps"),
    "grid": ("folds", "xflow"),
    "epochs": ("learning", "xflow"),
    "activations": ("embedding", "changes", "maps"),
}
"""Table -> what is drawn of it."""


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Two variants in two folds, of which one trial was probed."""
    folder = open_storage(tmp_path_factory.mktemp("fuzz")).below("made-up")
    for variant, fold in itertools.product(("baseline", "residuals only"), range(2)):
        write_variant(folder, variant, fold, 0.5 + 0.1 * fold, optimistic_accuracy=0.7)
    write_probe(folder, "baseline0s0", persons={"p0": "test", "p1": "train"})
    return folder


@pytest.fixture(params=COUNTS)
def times(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Times the cases of the short version, in which nothing is drawn but all is computed."""
    drawn: dict[ModuleType, tuple[str, ...]] = {
        folds: ("draw_folds", "draw_learning"),
        probed: ("draw_embedding", "draw_changes", "draw_maps"),
    }
    for verbs, names in drawn.items():
        monkeypatch.setattr(verbs, "save", lambda *_: None)
        for name in names if request.param == 1 else ():
            monkeypatch.setattr(verbs, name, lambda *_, **__: None)
    embedding = "fusion_search.analysis.figures.probed.embedding.embedded"
    monkeypatch.setattr(embedding, lambda vectors: np.zeros((len(vectors), 2)))
    return int(request.param)


def draw(figure: str, search: Storage, capsys: pytest.CaptureFixture[str]) -> int:
    """Its exit code; every line of error is a note, but a last one for what stops it."""
    place = str(search.parent.location)
    trial = ["--trial", "baseline0s0"] if figure in FIGURES["activations"] else []
    say_damage.cache_clear()
    code = main(["draw", figure, "made-up", *trial, "--storage", place, "--output", f"{place}/out"])
    lines = capsys.readouterr().err.splitlines()
    assert code in (0, 2), lines
    told = lines[:-1] if code == 2 else lines
    assert all(one.startswith("note: ") for one in told), lines
    assert code == 0 or lines[-1].startswith("error: "), lines
    return code


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("table", FIGURES)
def test_figures_of_a_damaged_table(
    table: str, times: int, search: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "baseline0s0.parquet"
    path = Path(search.path(table, name))
    content = path.read_bytes()
    plain = io.BytesIO()  # without our checksum, so that what is changed is believed
    rows = pq.ParquetFile(path).read()
    pq.write_table(rows, plain, compression="none", use_dictionary=False, write_statistics=False)
    figures = itertools.cycle(FIGURES[table])
    assert draw(next(figures), search, capsys) == 0
    copies = [*damaged(content, times, seed=21), *damaged(plain.getvalue(), 3 * times, seed=22)]
    try:
        for copy in copies:
            path.write_bytes(copy)
            draw(next(figures), search, capsys)
    finally:
        path.write_bytes(content)


@pytest.mark.filterwarnings("error")
def test_figures_of_a_damaged_description(
    times: int, search: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(search.path("task.json"))
    content = path.read_bytes()
    figures = itertools.cycle(["folds", "xflow", "learning", "embedding", "changes", "maps"])
    codes = set()
    try:
        for copy in damaged(content, 9 * times, seed=23):
            path.write_bytes(copy)
            codes.add(draw(next(figures), search, capsys))
    finally:
        path.write_bytes(content)
    assert 2 in codes
