"""What a user or a notebook told Matplotlib reaches neither our commands nor our figures."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic_records import DIGITS, Trial, write_trial

import fusion_search.analysis.figures as room
from fusion_search.analysis.figures.drawing import image
from fusion_search.analysis.figures.grids import draw_grid
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.report.html import picture
from fusion_search.search.commands.command_line import main
from fusion_search.search.tracking.values import grid_picture

BROKEN = "no-such-backend"  # as matplotlib_inline is, where it is not installed
GRID = pd.DataFrame({1.0: [0.5, 0.6], 0.5: [0.4, 0.3]}, index=[1.0, 0.5])
HOSTILE = {
    "text.usetex": True,
    "text.latex.preamble": r"\usepackage{nowhere}",
    "font.family": "No Such Font",
    "axes.facecolor": "black",
    "savefig.bbox": "tight",
}


def python(code: str, backend: str) -> list[str]:
    environment = {**os.environ, "MPLBACKEND": backend}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_draws_nothing_does_without_matplotlib(tmp_path: Path) -> None:
    program = (
        "import sys; from fusion_search.search.commands.command_line import main, parser; "
        f"parser().format_help(); assert main(['status', '--storage', {str(tmp_path)!r}]) == 0; "
        "import fusion_search.search.commands.launch, fusion_search.search.commands.spaces, "
        "fusion_search.search.commands.figures.report, "
        "fusion_search.search.running.recorded_trial; "
        "print('matplotlib' in sys.modules)"
    )
    assert python(program, BROKEN)[-1] == "False"


@pytest.mark.parametrize(("given", "kept"), [("module://x.y", "module://x.y"), (BROKEN, "None")])
def test_a_notebook_that_imports_us_keeps_its_backend(given: str, kept: str) -> None:
    program = (
        "import os, fusion_search.analysis.figures.drawing, matplotlib; "
        "one = matplotlib.rcParams._get('backend'); "
        "print(one if isinstance(one, str) else None, os.environ['MPLBACKEND'])"
    )
    assert python(program, given) == [f"{kept} {given}"]


def test_a_home_folder_that_cannot_be_written_to_is_nothing_to_tell(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {**os.environ, "HOME": str(tmp_path / "file"), "XDG_CACHE_HOME": ""}
    for name in ("MPLCONFIGDIR", "XDG_CONFIG_HOME"):
        environment.pop(name, None)
    code = "import fusion_search.analysis.figures.drawing, matplotlib, os; " + (
        "print(os.listdir(matplotlib.get_cachedir()) is not None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_draw_is_indifferent_to_backend_and_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"{name}: {value}" for name, value in HOSTILE.items()]
    (tmp_path / "matplotlibrc").write_text("\n".join([*settings, "backend: nowhere"]))
    environment = {"MPLBACKEND": BROKEN, "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    write_trial(open_storage(tmp_path).below("made-up"), Trial((0.5, 0.25)))
    words = ["draw", "grids", "made-up", "--storage", str(tmp_path), "--output"]
    done = subprocess.run(
        [sys.executable, "-m", "fusion_search", *words, str(tmp_path / "theirs")],
        env={**os.environ, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert main([*words, str(tmp_path / "ours")]) == 0
    names = sorted(one.name for one in (tmp_path / "ours").iterdir())
    assert [Path(name).suffix for name in names] == [".csv", ".csv", ".png", ".svg"]
    for name in names:
        assert (tmp_path / "theirs" / name).read_bytes() == (tmp_path / "ours" / name).read_bytes()


def map_of(row: dict[str, object], grid: pd.DataFrame, of: TaskDescription) -> bytes:
    content = grid_picture(row, grid, of)
    assert content is not None
    return content


@pytest.mark.parametrize(
    "make",
    [
        lambda: image(
            draw_grid(GRID, DIGITS, DIGITS.metric, title="100 % of $x", caption="a_b $^$"),
            "svg",
            72,
            salt="1",
        ),
        lambda: picture(draw_grid(GRID, DIGITS, DIGITS.metric), "words").encode(),
        lambda: map_of(
            {"train_audio_snr": 1.0, "train_visual_snr": 0.5, "trial_name": "d0 $_ s0"},
            pd.DataFrame(
                {"test_audio_snr": [1.0], "test_visual_snr": [0.5], "n": [9], "accuracy_sum": [8]}
            ),
            DIGITS,
        ),
    ],
    ids=["a file", "in the report", "in MLflow"],
)
def test_a_figure_is_the_same_under_any_configuration(make: Callable[[], bytes]) -> None:
    expected = make()
    with mpl.rc_context(HOSTILE):
        before = dict(mpl.rcParams)
        assert make() == expected
        assert dict(mpl.rcParams) == before


def test_every_figure_is_drawn_in_our_style() -> None:
    found = set()
    for path in Path(next(iter(room.__path__))).glob("*.py"):
        module = import_module(f"{room.__name__}.{path.stem}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            returned = inspect.signature(function).return_annotation
            if name.startswith("draw_") and returned == "Figure":
                found.add(name)
                assert hasattr(function, "__wrapped__"), name
    assert len(found) > 10


def test_a_figure_larger_than_a_picture_may_be_has_fewer_dots() -> None:
    assert image(Figure(figsize=(1, 4000)), "png", 160)[1:4] == b"PNG"
